package engine

import (
	"slices"
	"testing"
	"time"

	"imcd/evapi"
)

// A restart of one of two Kamailios makes the copies go again which that one had, and no
// others.
func TestOneKamailioRestarts(t *testing.T) {
	bubble(t, nil, func(h *house) {
		users := []string{"bob", "carol", "dave", "eve"}
		conns := []*evapi.Conn{{}, {}}
		for _, user := range users[1:] {
			h.want(h.answerTo("#add "+user), 200, 1)
		}
		for _, user := range users {
			h.answers(user, evapi.Result{})
		}
		h.relay.take()
		h.relay.set(func() { h.relay.conns = slices.Clone(conns) })
		h.says("one")
		h.pass(time.Second)
		h.relay.mu.Lock()
		took := map[string]*evapi.Conn{}
		for i, c := range h.relay.copies {
			took[c.to] = h.relay.results[i].conn
		}
		h.relay.mu.Unlock()
		h.relay.take()
		for i, conn := range conns {
			h.e.Lost(conn)
			h.pass(time.Second)
			again := h.relay.take()
			for _, c := range again {
				if took[c.to] != conn {
					h.t.Errorf("restart of Kamailio %d: %s is sent again, which the other one has", i, c.to)
				}
			}
			if len(again) != 2 {
				h.t.Errorf("restart of Kamailio %d: %d copies are sent again, want 2", i, len(again))
			}
			for _, c := range again { // by either
				h.e.Result(evapi.Result{CallID: c.callID, Code: 200})
				took[c.to] = nil
			}
			h.pass(time.Second)
		}
		h.pass(time.Minute)
		if left := h.relay.take(); len(left) > 0 || h.e.credits.inUse() > 0 {
			h.t.Errorf("%d more copies, %d under way", len(left), h.e.credits.inUse())
		}
	})
}

// A copy that cannot be sent at all was never under way, and ends nothing that is.
func TestUnsendable(t *testing.T) {
	bubble(t, nil, func(h *house) {
		h.want(h.answerTo("#add carol"), 200, 1)
		h.answers("bob", result(tooLarge))
		h.answers("carol", evapi.Result{})
		for range 3 {
			h.says("x")
		}
		flying, err := ask(h.t.(*testing.T).Context(), h.e, "sip:r@x.org", func(r *room) int { return r.inFlight })
		if n := h.e.credits.inUse(); flying != 1 || n != 1 || err != nil {
			h.t.Errorf("%d and %d copies are under way, want 1, %v", flying, n, err)
		}
	})
}

// Notices that a slow member will not get any more are no reason to ask the database.
func TestDroppedNotices(t *testing.T) {
	bubble(t, func(c *Config) { c.LogEntries = 2 }, func(h *house) {
		h.answers("bob", evapi.Result{})
		h.says("one")
		slow := h.relay.take()
		for range 3 {
			h.want(h.answerTo("#add carol"), 200, 1)
			h.want(h.answerTo("#remove carol"), 200, 1)
		}
		h.store.mu.Lock()
		h.store.asked = nil
		h.store.mu.Unlock()
		h.answers("bob", result(200))
		for _, c := range slow {
			h.e.Result(evapi.Result{CallID: c.callID, Code: 200})
		}
		h.pass(time.Second)
		h.says("two")
		if got := h.sentTo(); !slices.Contains(got, "two") {
			h.t.Errorf("bob was sent %q", got)
		}
		h.store.mu.Lock()
		defer h.store.mu.Unlock()
		if n := len(h.store.asked); n > 0 {
			h.t.Errorf("%d queries", n)
		}
	})
}
