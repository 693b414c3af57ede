package engine

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"imcd/evapi"
)

// as is an engine of the world as a house that knows groups; alice and bob have Linphone.
func (w *fleetWorld) as(f *fleetEngine) *house {
	h := &house{t: w.t, e: f.e, store: w.fleet.memStore, relay: f.relay.fakeRelay}
	h.e.Welcomed("k", evapi.Welcome{Features: []string{"native"}, Domains: []string{"x.org"},
		Rooms: &evapi.RoomRule{Expression: "^chat-.+$", Prefix: "chat-"}})
	h.nativeFor("alice", "bob")
	return h
}

// TestNativeFleet: of two engines, the one that has a group is killed at each moment of a creation and of a removal.
// The other one, to which Kamailio gives the request if it has no answer, goes on by itself: bob's client has the
// group, or has lost it. After a registration all clients agree.
func TestNativeFleet(t *testing.T) {
	t.Parallel()
	none := func(*fleetWorld, *fleetEngine) {}
	// What the first engine cannot do any more, and how long it lives after it was asked.
	moments := map[string]struct {
		stops func(w *fleetWorld, a *fleetEngine)
		lives time.Duration
	}{
		"it is not stored": {(*fleetWorld).freeze, 0},
		"it is stored, and not said": {func(_ *fleetWorld, a *fleetEngine) {
			a.relay.set(func() { a.relay.deposed = true })
		}, 0},
		"it is said": {none, 0},
		"bob's client is asked, and has no answer yet": {func(_ *fleetWorld, a *fleetEngine) {
			a.relay.set(func() { a.relay.codes["bob"] = evapi.Result{} })
		}, time.Second},
		"bob's client cannot be reached": {func(_ *fleetWorld, a *fleetEngine) {
			a.relay.set(func() { a.relay.codes["bob"] = evapi.Result{Code: 503} })
		}, time.Second},
		"alice's client cannot be reached": {func(_ *fleetWorld, a *fleetEngine) {
			a.relay.set(func() { a.relay.codes["alice"] = evapi.Result{Code: 503} })
		}, time.Second},
		"all is done": {none, 3 * time.Second},
	}
	for name, moment := range moments {
		for _, removal := range []bool{false, true} {
			what := map[bool]string{false: "creation", true: "removal"}[removal]
			t.Run(what+", "+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w := newFleetWorld(t)
					a, b := w.start(), w.start()
					defer w.end()
					w.takeOver(nil, a)
					pass(time.Second)
					v := newView(w.as(a))
					room := ""
					request := func() *evapi.Message {
						return v.h.asks("the-call", "INVITE", "alice", groupFactory, listOf("bob"), "Subject: Growers\r\n",
							"Content-Type: application/resource-lists+xml\r\n")
					}
					if removal {
						room = v.h.makes("alice", "Growers", "bob")
						v.passes(3 * time.Second)
						if got := v.shows("bob", room); got != "Growers: alice* bob" {
							t.Fatalf("bob sees %q", got)
						}
						request = func() *evapi.Message {
							return v.h.asks("the-call", "REFER", "alice", room, "", "Refer-To: <sip:bob@x.org;method=BYE>;text\r\n")
						}
					}
					second := w.as(b)
					moment.stops(w, a)
					answer := v.h.begin(request())
					synctest.Wait()
					enters := func(x evapi.Answer) {
						if x.Code/100 != 2 {
							t.Fatalf("the answer is %+v", x)
						}
						if room = roomIn(x); !removal {
							v.h.ask("SUBSCRIBE", "alice", room, "", "Event: conference\r\n", "Expires: 600\r\n")
						}
					}
					answered := len(answer) > 0
					if answered && moment.lives > 0 {
						enters(<-answer)
						v.passes(moment.lives)
					}
					w.takeOver(a, b)
					w.wake(a)
					v.look()
					v.h = second
					pass(time.Second) // the second engine takes the rooms
					if !answered {
						answer = v.h.begin(request())
					}
					if !answered || moment.lives == 0 {
						enters(<-answer)
					}
					v.passes(time.Minute)
					if r := v.rooms["bob "+room]; r == nil || r.in == removal {
						t.Errorf("bob's client has %+v", r)
					}
					second.nativeFor("alice", "bob")
					v.passes(3 * time.Second)
					want := map[string]string{"alice": "Growers: alice* bob", "bob": "Growers: alice* bob"}
					if removal {
						want = map[string]string{"alice": "Growers: alice*", "bob": ""}
					}
					for user, shows := range want {
						if got := v.shows(user, room); got != shows {
							t.Errorf("%s sees %q, want %q", user, got, shows)
						}
					}
					for key := range v.rooms {
						if !strings.HasSuffix(key, room) {
							t.Errorf("there is %s besides %s", key, room)
						}
					}
				})
			})
		}
	}
}

// TestNativeFleetLoads: rooms take long to load after their owner was killed. The first of them hear of changes
// nevertheless.
func TestNativeFleetLoads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newFleetWorld(t)
		a, b := w.start(), w.start()
		defer w.end()
		w.takeOver(nil, a)
		pass(time.Second)
		v := newView(w.as(a))
		room := v.h.makes("alice", "Growers", "bob")
		v.passes(3 * time.Second)
		second := w.as(b)
		w.fleet.mu.Lock()
		w.fleet.loads = 2 * time.Second
		w.fleet.mu.Unlock()
		w.takeOver(a, b)
		w.wake(a)
		v.look()
		v.h = second
		pass(5 * time.Second)
		second.want(<-second.post("alice", strings.TrimPrefix(room, "sip:"), "#set title Tomatoes"), 200, 1)
		v.passes(3 * time.Second)
		if got := v.shows("bob", room); got != "Tomatoes: alice* bob" {
			t.Errorf("bob sees %q", got)
		}
	})
}
