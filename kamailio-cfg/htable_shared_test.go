package kamailiocfg_test

import (
	"fmt"
	"strings"
	"testing"

	"imcd/cmd/imcd/imcdtest"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// TestTableShared: of two Kamailios that are peers, each knows the rooms of the imcd that are connected to it, and
// nothing of others; also when rooms move between two imcd at one Kamailio, or from one Kamailio to the other.
func TestTableShared(t *testing.T) {
	var asks [2]*asked
	for i, opts := range peerOptions(t, hereOnly, "between-us", "#!define IMC_HTABLE\n") {
		opts.Config, opts.Local, opts.Secret = askedConfig(t), "alias=\"chat.test\"\n", "of-both"
		asks[i] = &asked{k: kit.Kamailio(t, opts), uas: map[string]*evapitest.UA{}}
	}
	var rooms []string // some of each imcd
	for i := 0; i < fleetShards; i += 3 {
		rooms = append(rooms, strings.TrimSuffix(roomIn(i)[len("sip:"):], "@chat.test"))
	}
	// knownOnce waits until who ("alice ", or "" for the room alone) gets that answer about each room from one Kamailio,
	// and the other one does not know the room; and until there are rooms that are known at the one with that index.
	knownOnce := func(when, who string, code, some int) {
		t.Helper()
		ctx, seen := kit.Context(t), ""
		kit.Until(t, ctx, when, func() bool {
			var got [2]int
			for _, room := range rooms {
				one, two := asks[0].ask(t, who+room), asks[1].ask(t, who+room)
				switch {
				case one == code && two == unknown:
					got[0]++
				case one == unknown && two == code:
					got[1]++
				default:
					if now := fmt.Sprint(who, room, ": ", one, " and ", two); now != seen {
						t.Logf("%s: %s", when, now)
						seen = now
					}
					return false
				}
			}
			return got[some] > 0
		})
	}

	url, dir := schematest.NewDatabase(t), programs.Folder(t)
	run := func(name string, at int) *imcdtest.Imcd {
		k := asks[at].k
		return imcdtest.Run(t, imcdtest.Options{Dir: dir, Name: name, DBURL: url, Evapi: k.EvapiAddr(), Secret: k.Secret()})
	}
	first := run("first", 0)
	if err := first.AwaitReady(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	alice := kit.Registered(t, asks[0].k, evapitest.UAConfig{User: "alice", Domain: "chat.test"})
	bob := kit.Registered(t, asks[1].k, evapitest.UAConfig{User: "bob", Domain: "chat.test"})
	for _, room := range rooms {
		expect(t, say(t, alice, "sip:"+room+"@chat.test", "#create"), 200)
	}
	knownOnce("one imcd has all", "", yes, 0)
	run("second", 0)
	run("third", 1)
	knownOnce("three share them", "", yes, 1)
	for _, room := range rooms {
		expect(t, say(t, bob, "sip:"+room+"@chat.test", "#join"), 200)
	}
	knownOnce("bob has joined", "bob ", yes, 1)
	knownOnce("carl has not", "carl ", no, 1)
	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	knownOnce("one imcd at each", "bob ", yes, 0)
	for _, room := range rooms {
		expect(t, say(t, bob, "sip:"+room+"@chat.test", "#exit"), 200)
	}
	knownOnce("bob has left", "bob ", no, 1)
}
