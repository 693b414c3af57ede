package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"imcd/engine/store"
	"imcd/evapi"
)

// Who registered while imcd was cut off from Kamailio, or stopped, is tried again
// when that is over.
func TestMissedRegistration(t *testing.T) {
	for name, over := range map[string]func(h *house){
		"connected": func(h *house) { h.e.Wake() },
		"thawed": func(h *house) {
			for _, s := range h.e.shards {
				s.inbox.post(func() { s.now = s.now.Add(-2 * frozenAfter) })
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

// A member that was tried without success after messages were dropped gets a notice of them when it is
// there again, once.
func TestCountOfMissedOnceBackAgain(t *testing.T) {
	h := pair(t, func(c *Config) { c.MemberBacklog, c.OfflineRetry = 5, 20*time.Millisecond })
	h.answers("bob", result(404))
	for i := 1; i <= 12; i++ {
		h.say("alice", "r", fmt.Sprint(i))
	}
	h.relay.take()
	h.until("tried without success", func() bool { return len(h.peek()) >= 3 })
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

// What a member has missed, as its notice says, is counted, whatever becomes of the room
// before the outcome comes.
func TestDroppedIsCountedOnce(t *testing.T) {
	h := pair(t, func(c *Config) { c.MemberBacklog = 5 })
	h.answers("bob", result(404))
	for i := 1; i <= 12; i++ {
		h.want(h.say("alice", "r", fmt.Sprint(i)), 200, 1)
	}
	h.relay.take()
	h.answers("bob", evapi.Result{})
	h.e.Registered("sip:bob@x.org")
	var copies []got
	h.until("notice", func() bool { more(h, &copies); return len(copies) == 1 })
	away := func(is bool) {
		h.store.mu.Lock()
		defer h.store.mu.Unlock()
		if h.store.away, h.store.fail = is, nil; is {
			h.store.fail = func([]store.Change) (error, bool) { return store.ErrUnavailable, false }
		}
	}
	away(true)
	h.want(h.say2("alice", "r", "#destroy"), 503, -119)
	h.e.Result(evapi.Result{CallID: copies[0].callID, Code: 200})
	h.answers("bob", result(200))
	away(false)
	h.until("healthy", h.e.Healthy)
	h.e.Registered("sip:bob@x.org")
	h.until("delivered", func() bool { more(h, &copies); return strings.HasSuffix(copies[len(copies)-1].body, ": 12") })
	if want := "*** 7 messages of this room were dropped before they reached you."; copies[0].body != want {
		t.Errorf("first came %q, want %q", copies[0].body, want)
	}
	h.wantBodies(copies[1:], "bob", numbers(8, 12))
	if n := testutil.ToFloat64(h.e.metrics.dropped); n != 7 {
		t.Errorf("%v counted", n)
	}
}
