package engine

import (
	"fmt"
	"testing"
)

// Who registered while imcd was cut off from Kamailio, or stopped, is tried again
// when that is over.
func TestMissedRegistration(t *testing.T) {
	for name, over := range map[string]func(h *house){
		"connected": func(h *house) { h.e.Wake() },
		"thawed": func(h *house) {
			for _, s := range h.e.shards {
				s.inbox.post(func(s *shard) { s.now = s.now.Add(-2 * frozenAfter) })
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := pair(t, nil)
			h.answers("bob", result(404))
			for i := 1; i <= 10; i++ {
				h.want(h.say("alice", "r", fmt.Sprint(i)), 200, 1)
			}
			copies := h.relay.take()
			h.wantBodies(copies, "bob", numbers(1, 1))
			h.answers("bob", result(200))
			over(h)
			h.until("all delivered", func() bool { return len(bodies(copies, "bob")) >= 10 || more(h, &copies) })
			h.wantBodies(copies, "bob", numbers(1, 10))
		})
	}
}
