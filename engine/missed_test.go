package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
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

// Who was tried in vain after messages were dropped is told of them when it is
// there again, once.
func TestToldOnceBackAgain(t *testing.T) {
	h := pair(t, func(c *Config) { c.MemberBacklog, c.OfflineRetry = 5, 20*time.Millisecond })
	h.answers("bob", result(404))
	for i := 1; i <= 12; i++ {
		h.say("alice", "r", fmt.Sprint(i))
	}
	h.relay.take()
	h.until("tried in vain", func() bool { return len(h.peek()) >= 3 })
	h.relay.set(func() { h.relay.copies, h.relay.codes["bob"] = nil, result(200) })
	h.e.Registered("sip:bob@x.org")
	var copies []got
	h.until("delivered", func() bool {
		more(h, &copies)
		return len(copies) > 0 && strings.HasSuffix(copies[len(copies)-1].body, ": 12")
	})
	h.quiet()
	more(h, &copies)
	var heard []string
	for _, c := range copies {
		heard = append(heard, c.body)
	}
	want := []string{"*** 7 messages of this room were dropped before they reached you.",
		"[alice]: 8", "[alice]: 9", "[alice]: 10", "[alice]: 11", "[alice]: 12"}
	if !slices.Equal(heard, want) {
		t.Errorf("heard\n%s", strings.Join(heard, "\n"))
	}
}
