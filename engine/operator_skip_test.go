package engine

import (
	"context"
	"testing"
	"testing/synctest"
)

// TestSkipWhileLoading: a message that is skipped while it is read from the database is
// not sent after that, and nothing else is said to be missing.
func TestSkipWhileLoading(t *testing.T) {
	bubble(t, nil, func(h *house) {
		h.answers("bob", result(480))
		for _, text := range []string{"1", "2", "3"} {
			h.says(text)
		}
		h.wantSent("1")
		h.answers("bob", result(200))
		reads := make(chan struct{})
		h.store.mu.Lock()
		h.store.reads = reads
		h.store.mu.Unlock()
		h.registers("bob")
		if seq, err := h.e.SkipMessage(context.Background(), "sip:r@x.org", "bob"); seq != 1 || err != nil {
			t.Fatal(seq, err)
		}
		close(reads)
		synctest.Wait()
		h.wantSent(notShown, "2", "3")
	})
}

// TestLossesAreForgotten: nothing is kept of the losses of somebody who has left.
func TestLossesAreForgotten(t *testing.T) {
	bubble(t, func(c *Config) { c.HashSize = 0 }, func(h *house) {
		h.answers("bob", result(415))
		h.says("1")
		count := func() int {
			n := make(chan int, 1)
			onShard(h.e.shards[0], func(s *shard) { n <- len(s.rooms["r@x.org"].losses) })
			return <-n
		}
		if n := count(); n != 1 {
			t.Fatalf("losses of %d members are kept, want 1", n)
		}
		h.post("bob", "r@x.org", "#leave")
		synctest.Wait()
		if n := count(); n != 0 {
			t.Errorf("losses of %d members are kept after they left", n)
		}
	})
}
