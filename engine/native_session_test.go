package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"imcd/evapi"
)

// killed is what is stored at this moment: an engine that is started with it comes after one that was killed now.
func (m *memStore) killed() *memStore {
	m.mu.Lock()
	defer m.mu.Unlock()
	again := newMemStore()
	for key, r := range m.rooms {
		r.Members, r.Settings = slices.Clone(r.Members), slices.Clone(r.Settings)
		again.rooms[key] = r
	}
	again.sets, again.answers, again.cursors = maps.Clone(m.sets), maps.Clone(m.answers), maps.Clone(m.cursors)
	again.serial, again.codes, again.notes = m.serial, maps.Clone(m.codes), maps.Clone(m.notes)
	return again
}

// TestNativeKilled: imcd is killed while a request to a client is under way. The next imcd knows that the client may
// have the room, and which session it has there.
func TestNativeKilled(t *testing.T) {
	t.Parallel()
	leaves := func(h *house, room, callID string) int {
		h.askIn(callID, "BYE", "bob", room, "")
		return h.ask("SUBSCRIBE", "bob", room, "", "Event: conference\r\n").Code
	}
	for name, c := range map[string]struct {
		invited int // Result.Code of the first INVITE to bob; 0: imcd is killed before its outcome
		again   bool
		then    func(t *testing.T, h *house, v *clientView, room, first, second string)
	}{
		"bob was invited again": {invited: 200, again: true,
			then: func(t *testing.T, h *house, _ *clientView, room, first, second string) {
				pass(time.Second)
				third := h.hears("INVITE", "bob") // nobody knows whether bob had the ACK
				for _, before := range []string{first, second} {
					if code := leaves(h, room, before); code != 200 {
						t.Errorf("the end of a session before has put bob out: %d", code)
					}
				}
				if code := leaves(h, room, third); code != 403 {
					t.Errorf("bob has not left: %d", code)
				}
			}},
		"bob was invited, and leaves": {
			then: func(t *testing.T, h *house, _ *clientView, room, first, _ string) {
				if code := leaves(h, room, first); code != 403 {
					t.Errorf("bob has not left: %d", code)
				}
			}},
		"bob was invited, and is removed": {
			then: func(t *testing.T, h *house, v *clientView, room, _, _ string) {
				h.want(<-h.post("alice", strings.TrimPrefix(room, "sip:"), "#remove bob"), 200, 1)
				v.passes(time.Second)
				if r := v.rooms["bob "+room]; r == nil || r.in {
					t.Errorf("bob's client has %+v", r)
				}
			}},
		"bob was invited": {
			then: func(t *testing.T, h *house, v *clientView, room, _, _ string) {
				h.nativeFor("bob")
				v.passes(time.Second)
				if got := v.shows("bob", room); got != "Growers: alice* bob" {
					t.Errorf("bob sees %q", got)
				}
			}},
		"bob was not there, and is removed": {invited: 404,
			then: func(t *testing.T, h *house, v *clientView, room, _, _ string) {
				h.want(<-h.post("alice", strings.TrimPrefix(room, "sip:"), "#remove bob"), 200, 1)
				h.nativeFor("bob")
				v.passes(time.Minute)
				if v.rooms["bob "+room] != nil {
					t.Error("bob's client hears of the room")
				}
			}},
		"alice has made the room, and it is destroyed": {
			then: func(t *testing.T, h *house, v *clientView, room, _, _ string) {
				if err := h.e.DestroyRoom(context.Background(), room); err != nil {
					t.Error(err)
				}
				v.passes(time.Second)
				if r := v.rooms["alice "+room]; r == nil || r.in {
					t.Errorf("alice's client has %+v", r)
				}
			}},
	} {
		inBubble(t, name, func(t *testing.T) {
			kept := newMemStore()
			h := newNativeHouse(t, kept, nil)
			h.nativeFor("alice", "bob")
			h.relay.set(func() { h.relay.codes["bob"] = evapi.Result{} })
			a := h.ask("INVITE", "alice", groupFactory, listOf("bob"), "Subject: Growers\r\n",
				"Content-Type: application/resource-lists+xml\r\n")
			room, second := roomIn(a), ""
			at := kept.killed() // alice has her answer, and no more
			pass(time.Second)
			first := h.hears("INVITE", "bob")
			if !strings.HasPrefix(name, "alice") {
				at = kept.killed()
			}
			if c.invited != 0 {
				h.e.Result(evapi.Result{CallID: first, Code: c.invited, Dialog: &evapi.Dialog{}})
				pass(time.Minute) // all is stored
				at = kept.killed()
			}
			if c.again {
				h.ask("SUBSCRIBE", "bob", groupFactory, listOf(), "Event: conference\r\n",
					"Content-Type: application/resource-lists+xml\r\n")
				pass(time.Second)
				second = h.hears("INVITE", "bob")
				at = kept.killed()
			}
			next := newNativeHouse(t, at, nil)
			v := newView(next)
			c.then(t, next, v, room, first, second)
			h.cut()
		})
	}
}

// TestNativeNoACK: imcd is killed after a client has answered an INVITE. A client that got no ACK ends the session half
// a minute later, and has left the room by that: so it is invited once more, also if it has asked for the state, and
// imcd is killed again. One that got the ACK is not.
func TestNativeNoACK(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		again, acked bool // bob had the room before; he gets the ACK
		kills        int
	}{
		"invited":           {kills: 1},
		"two kills":         {kills: 2},
		"invited again":     {again: true, kills: 1},
		"again, two kills":  {again: true, kills: 2},
		"has the ACK":       {acked: true, kills: 1},
		"has the ACK again": {again: true, acked: true, kills: 2},
	} {
		inBubble(t, name, func(t *testing.T) {
			kept := newMemStore()
			h, v, room := newGrowers(t, kept, []string{"alice"}, "bob")
			if c.again {
				h.nativeFor("bob")
				v.passes(time.Minute)
			}
			h.relay.set(func() { h.relay.codes["bob"] = evapi.Result{} })
			h.nativeFor("bob")
			h.ask("SUBSCRIBE", "bob", groupFactory, listOf(), "Event: conference\r\n",
				"Content-Type: application/resource-lists+xml\r\n")
			pass(time.Second)
			session := h.hears("INVITE", "bob")
			if c.acked {
				h.e.Result(evapi.Result{CallID: session, Code: 200, Dialog: &evapi.Dialog{}})
				pass(time.Minute) // all is stored
			}
			for kill := range c.kills {
				kept = kept.killed()
				if kept.codes = nil; kill+1 < c.kills {
					kept.codes = map[string]evapi.Result{"bob": {}}
				}
				h.cut()
				h = newNativeHouse(t, kept, nil)
				h.e.Wake()
				h.subscribes("bob", room)
				pass(time.Second)
			}
			v = newView(h)
			bob := &viewedRoom{in: true, session: session, title: "Growers", users: map[string]bool{}}
			v.rooms["bob "+room] = bob
			h.nativeFor("bob")
			v.passes(time.Second)
			invited := bob.session
			if invited == session != c.acked {
				t.Errorf("bob has the session %s, and had %s", invited, session)
			}
			v.passes(40 * time.Second)
			if !c.acked { // the client has waited for the ACK
				h.askIn(session, "BYE", "bob", room, "")
				bob.in = bob.in && bob.session != session
			}
			h.nativeFor("bob")
			v.passes(10 * time.Second)
			if got := v.shows("bob", room); got != "Growers: alice* bob" || bob.session != invited {
				t.Errorf("bob sees %q, and was invited once more: %v", got, bob.session != invited)
			}
		})
	}
}

// TestNativeOwnSession: a client that was started again changes the title, or leaves, in a session of its own. It ends
// that one, too, when it is invited once more, and does not leave by that. Also the next imcd knows it.
func TestNativeOwnSession(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ invited, killed, leaves bool }{
		"leaves":                {leaves: true},
		"leaves after a kill":   {leaves: true, killed: true},
		"is invited":            {invited: true},
		"is invited and killed": {invited: true, killed: true},
		"is invited and leaves": {invited: true, leaves: true},
	} {
		inBubble(t, name, func(t *testing.T) {
			kept := newMemStore()
			h, v, room := newGrowers(t, kept, []string{"alice", "bob"}, "bob")
			v.passes(time.Minute)
			const own = "LI2X5vI3W~"
			ends := func(callID string) {
				raw := h.asked(callID, "BYE", "alice", room, "")
				<-h.begin(h.read("alice", room, strings.Replace(raw, "CSeq: 1", "CSeq: 2", 1)))
			}
			raw := h.asked(own, "INVITE", "alice", room, "", "Subject: Tomatoes\r\n")
			raw = strings.Replace(raw, "<"+gruuOfUser("alice")+">;text",
				`<sip:alice@127.0.0.1:5;transport=tcp>;text;+sip.instance="<urn:uuid:alice>"`, 1)
			if a := <-h.begin(h.read("alice", room, raw)); a.Code != 200 {
				t.Fatalf("answer %+v", a)
			}
			session := own
			v.passes(time.Second)
			v.rooms["alice "+room].session = "" // this test ends its sessions
			if c.invited {
				h.ask("SUBSCRIBE", "alice", groupFactory, listOf(), "Event: conference\r\n",
					"Content-Type: application/resource-lists+xml\r\n")
				v.passes(time.Second)
				if v.rooms["alice "+room].session == "" {
					t.Fatal("alice is not invited")
				}
			}
			if c.invited && c.leaves {
				ends(own)
				if a := h.ask("SUBSCRIBE", "alice", room, "", "Event: conference\r\n"); a.Code != 200 {
					t.Errorf("answer %+v", a)
				}
				session = v.rooms["alice "+room].session
			}
			if c.killed {
				h = newNativeHouse(t, kept.killed(), nil)
			}
			ends(session)
			want := 200
			if c.leaves {
				want = 403
			}
			if a := h.ask("SUBSCRIBE", "alice", room, "", "Event: conference\r\n"); a.Code != want {
				t.Errorf("answer %+v", a)
			}
		})
	}
}

// TestNativeVersionAgain: imcd is killed twice, and a client hears the state in between. What changes right before the
// second kill has the version that the client knows. It hears of that all the same when it sends its list.
func TestNativeVersionAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kept := newMemStore()
		_, v, room := newGrowers(t, kept, []string{"alice", "bob"}, "bob")
		v.passes(time.Minute)
		lists := func() {
			t.Helper()
			kept = kept.killed()
			v.h = newNativeHouse(t, kept, nil)
			version := v.rooms["bob "+room].version
			v.h.ask("SUBSCRIBE", "bob", groupFactory, listOf(fmt.Sprint(room, ";Last-Notify=", version)),
				"Event: conference\r\n", "Content-Type: application/resource-lists+xml\r\n")
		}
		lists()
		v.passes(time.Second)
		h := v.h
		h.want(<-h.post("alice", strings.TrimPrefix(room, "sip:"), "#add carol"), 200, 1)
		lists()
		v.passes(time.Second)
		if got := v.shows("bob", room); got != "Growers: alice* bob carol" {
			t.Errorf("bob sees %q", got)
		}
	})
}
