package engine

import (
	"testing"
	"testing/synctest"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

// What has arrived is written within cursor_flush, also if it arrives late.
func TestCursorsAreWrittenSoon(t *testing.T) {
	bubble(t, func(c *Config) { c.CursorFlush = 20 * time.Millisecond }, func(h *house) {
		h.pass(time.Second + 10*time.Millisecond) // right behind a tick
		h.answers("bob", evapi.Result{})
		h.says("one")
		h.pass(100 * time.Millisecond)
		for _, c := range h.relay.take() {
			h.e.Result(evapi.Result{CallID: c.callID, Code: 200})
		}
		h.pass(h.e.cfg.CursorFlush)
		if owed := h.store.owed(); owed != "" {
			h.t.Errorf("it has arrived, and is not written:\n%s", owed)
		}
	})
}

// A stored cursor that is ahead of what all others are known to have stays: nobody gets
// again after a crash what was noted as arrived.
func TestCursorAheadOfOthers(t *testing.T) {
	bubble(t, nil, func(h *house) {
		h.want(h.answerTo("#add carol"), 200, 1)
		h.relay.take()
		h.answers("bob", result(404))
		h.says("1")
		h.pass(time.Second)
		h.answers("carol", evapi.Result{}) // what she has is held for a moment
		h.says("2")
		back := func() {
			h.answers("bob", result(200))
			h.e.Registered("sip:bob@x.org")
			h.pass(2 * h.e.cfg.CursorFlush)
		}
		back()
		h.answers("bob", result(404))
		h.says("3")
		h.pass(2 * h.e.cfg.CursorFlush) // a row of his own
		back()
		h.wantSent("1", "1", "2", "3", "3")
		stored := h.store.crash()
		h.close()
		n := openHouse(h.t.(*testing.T), stored, nil)
		n.pass(time.Minute)
		n.wantSent()
	})
}

// What is read for a member while its room is about to be destroyed is read again if the
// database refuses that.
func TestReadDuringRefusedDestroy(t *testing.T) {
	bubble(t, nil, func(h *house) {
		h.answers("bob", result(404))
		h.says("one")
		h.pass(time.Second)
		h.relay.take()
		h.store.refuses(func(c *store.Change) bool { return c.Op == store.DeleteRoom })
		reads := make(chan struct{})
		h.store.mu.Lock()
		h.store.reads = reads
		h.store.mu.Unlock()
		h.answers("bob", result(200))
		h.e.Registered("sip:bob@x.org")
		synctest.Wait() // it is being read
		release := h.store.hold()
		destroyed := h.post("alice", "r@x.org", "#destroy")
		synctest.Wait()
		close(reads)
		synctest.Wait()
		release()
		h.want(<-destroyed, 500, -119)
		h.pass(10 * time.Second)
		h.wantSent("one")
	})
}

// What is refused by the phone of a member while its room is about to be destroyed is reported
// of, if the database refuses that.
func TestLossDuringRefusedDestroy(t *testing.T) {
	bubble(t, nil, func(h *house) {
		h.answers("bob", evapi.Result{})
		h.says("one")
		slow := h.relay.take()
		h.store.refuses(func(c *store.Change) bool { return c.Op == store.DeleteRoom })
		release := h.store.hold()
		destroyed := h.post("alice", "r@x.org", "#destroy")
		synctest.Wait()
		h.answers("bob", result(200))
		for _, c := range slow {
			h.e.Result(evapi.Result{CallID: c.callID, Code: 415})
		}
		synctest.Wait()
		release()
		h.want(<-destroyed, 500, -119)
		h.pass(10 * time.Second)
		h.wantSent(notShown)
		h.says("two")
		h.wantSent("two")
	})
}
