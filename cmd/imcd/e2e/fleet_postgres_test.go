package e2e

import (
	"testing"
	"time"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// outage is for how long servers are away in these tests.
const outage = 3 * time.Second

// startOne starts a crowd at one imcd.
func startOne(t *testing.T) *fleet {
	t.Helper()
	f, rooms := startPair(t)
	f.imcd = []*stack.Stack{startPlain(t, stack.Options{DBURL: f.between(t)})}
	f.talk(t, rooms)
	return f
}

// TestFleetStandbyFrozen: nothing is answered 2xx while the standby confirms nothing, and nothing is
// lost or doubled.
func TestFleetStandbyFrozen(t *testing.T) {
	t.Parallel()
	f := startOne(t)
	if err := f.standby.Pause(); err != nil {
		t.Fatal(err)
	}
	// Until now it may have confirmed something whose answer is on its way.
	pause(t, outage/10)
	frozen := time.Now()
	pause(t, outage)
	still := time.Now()
	if err := f.standby.Resume(); err != nil {
		t.Fatal(err)
	}
	f.more(t, 3*fleetRate)
	if n := f.acceptedBetween(frozen, still); n > 0 {
		t.Errorf("%d messages were answered 2xx without the standby", n)
	}
	f.judge(t, f.primary)
}

// TestFleetPrimaryKilled: the primary is killed, the standby promoted.
func TestFleetPrimaryKilled(t *testing.T) {
	t.Parallel()
	f := startOne(t)
	f.primary.Kill()
	if err := f.standby.Promote(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	f.more(t, 3*fleetRate)
	f.judge(t, f.standby)
}

// TestFleetPrimaryFrozen: the primary is frozen, the standby promoted, and the primary let loose again,
// which believes to be one for a while.
func TestFleetPrimaryFrozen(t *testing.T) {
	t.Parallel()
	f := startOne(t)
	if err := f.primary.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := f.standby.Promote(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	f.more(t, 3*fleetRate)
	if err := f.primary.Resume(); err != nil {
		t.Fatal(err)
	}
	pause(t, outage)
	f.primary.Kill() // whoever watches over the servers does so
	f.more(t, 3*fleetRate)
	f.judge(t, f.standby)
}

// TestFleetNetwork: the network between imcd and PostgreSQL swallows everything, resets connections, or
// is slow.
func TestFleetNetwork(t *testing.T) {
	for name, fault := range map[string]func(p *schematest.Proxy){
		"hold":  func(p *schematest.Proxy) { p.Hold() },
		"reset": func(p *schematest.Proxy) { p.Reset() },
		"slow":  func(p *schematest.Proxy) { p.Pass(outage / 10) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startOne(t)
			f.networks[0].each(fault)
			pause(t, outage)
			f.networks[0].each(func(p *schematest.Proxy) { p.Pass(0) })
			f.more(t, 3*fleetRate)
			f.judge(t, f.primary)
		})
	}
}
