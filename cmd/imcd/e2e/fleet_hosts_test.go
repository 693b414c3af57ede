package e2e

import (
	"testing"
	"time"

	"imcd/cmd/internal/stack"
	"imcd/cmd/internal/stack/stacktest"
	"imcd/evapi/evapitest/kit"
)

// hostSilence is how long no message of a room may be answered 2xx when the Kamailio of the owner ends, or the network
// to it swallows everything: until the owner sees that, half a second until it gives the rooms up, the takeover, and a
// try of the other Kamailio that was given to the dead one. It is some 1.8 s on a machine that is not busy.
const hostSilence = 4 * time.Second

// startHosts starts a crowd at two Kamailios that share locations, each with an imcd of its own. The first one has the
// rooms.
func startHosts(t *testing.T) *fleet {
	t.Helper()
	f, rooms := startPair(t)
	f.imcd = twoHosts(t, func(int) string { return f.between(t) })
	f.talk(t, rooms)
	return f
}

// twoHosts starts two Kamailios that share locations, each with an imcd of its own, at a database with one URL for each
// of them. The first one has the rooms.
func twoHosts(t *testing.T, url func(host int) string) (hosts []*stack.Stack) {
	t.Helper()
	kamailios, err := stack.Hosts(2)
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range kamailios {
		hosts = append(hosts, stacktest.Start(t, stack.Options{
			Binary: plain.Path(t), DBURL: url(i), Spare: i > 0, Settings: oneOwner, Kamailio: controlled(k)}))
	}
	return hosts
}

// TestFleetHosts: the owner at one host is killed again and again, and the imcd at the other host takes over. A request
// gets its answer at whichever Kamailio it comes.
func TestFleetHosts(t *testing.T) {
	f := startHosts(t)
	for round := range 2 {
		f.killOwner(t, round%2)
		f.more(t, 2*fleetRate)
	}
	f.judgeTakeovers(t)
}

// TestFleetKamailioKilled: the owner has no Kamailio any more, and leaves the rooms to the other host.
func TestFleetKamailioKilled(t *testing.T) {
	t.Parallel()
	f := startHosts(t)
	if err := f.imcd[0].Kamailio().Kill(); err != nil {
		t.Fatal(err)
	}
	f.takesOver(t, 1)
	if err := f.imcd[0].Kamailio().Start(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	f.more(t, 3*fleetRate)
	if s := f.judge(t, f.primary); s.Took > hostSilence+f.crowd.Stall() {
		t.Errorf("%s was silent for %v from %v on", s.Room, s.Took, s.From)
	}
}
