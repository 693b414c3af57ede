package engine

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"imcd/evapi"
)

const isTyping = "Content-Type: application/im-iscomposing+xml\r\n"

// typists makes a room r of alice and others.
func typingRoom(t *testing.T, change func(*Config), others ...string) *house {
	h := newHouse(t, change)
	h.say("alice", "r", "#create")
	for _, user := range others {
		h.say(user, "r", "#join")
	}
	h.heard()
	return h
}

// TestTypingGoesToWhoIsOnline: not to who is offline, invited, or not known to be there;
// and it is nowhere afterwards.
func TestTypingGoesToWhoIsOnline(t *testing.T) {
	h := typingRoom(t, nil, "bob", "carol", "dave")
	h.say("alice", "r", "#invite erin")
	h.answers("carol", result(404))
	h.answers("dave", result(408))
	h.say("alice", "r", "hello")
	h.relay.take()
	stored := len(h.store.messages())
	h.want(h.say("alice", "r", "<x/>", isTyping), 200, 1)
	h.wantHeard("bob<r: <x/>")
	h.want(h.say("frank", "r", "<x/>", isTyping), 200, 1)
	h.want(h.say("erin", "r", "<x/>", isTyping), 200, 1)
	h.want(h.say("frank", "nowhere", "<x/>", isTyping), 200, 1)
	h.wantHeard()
	h.answers("carol", result(200))
	h.e.Registered("sip:carol@x.org")
	var copies []got
	h.until("carol is back", func() bool { return len(bodies(copies, "carol")) > 0 || more(h, &copies) })
	h.quiet()
	more(h, &copies)
	for _, c := range copies {
		if strings.Contains(c.body, "<x/>") {
			t.Errorf("%s gets it later", c.to)
		}
	}
	if n := len(h.store.messages()); n != stored {
		t.Errorf("%d messages are stored, not %d", n, stored)
	}
	if n := testutil.ToFloat64(h.e.metrics.messages); n != 1 {
		t.Errorf("%v messages are counted", n)
	}
}

// TestTypingInLargeRooms: not above typing_members, and never with 0.
func TestTypingInLargeRooms(t *testing.T) {
	for most, copies := range map[int]int{0: 0, 2: 0, 3: 2} {
		h := typingRoom(t, func(c *Config) { c.TypingMembers = most }, "bob", "carol")
		h.say("alice", "r", "#invite dave")
		h.heard()
		h.want(h.say("alice", "r", "<x/>", isTyping), 200, 1)
		if heard := h.heard(); len(heard) != copies {
			t.Errorf("typing_members %d: heard %q", most, heard)
		}
	}
}

// TestTypingHasBounds: however often it comes, a few of one member pass, and a shard makes
// only so many copies; limits of messages do not count it.
func TestTypingHasBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := typingRoom(t, func(c *Config) {
			c.HashSize, c.TypingMembers = 0, 1000
			c.RateSenderMessages = Rate{Count: 2, Per: time.Hour}
		}, "bob")
		for range 1000 {
			h.want(h.say("alice", "r", "<x/>", isTyping), 200, 1)
		}
		if n := len(h.heard()); n != typingBurst {
			t.Errorf("%d copies at once", n)
		}
		h.want(h.say("alice", "r", "hello"), 200, 1)
		h.heard()
		h.pass(10 * typingEvery)
		for range 1000 {
			h.want(h.say("alice", "r", "<x/>", isTyping), 200, 1)
		}
		if n := len(h.heard()); n != typingBurst {
			t.Errorf("%d copies later", n)
		}
		for i := range 100 {
			h.say(fmt.Sprint("user", i), "r", "#join")
		}
		h.heard()
		h.pass(time.Minute)
		for i := range 10 {
			h.say(fmt.Sprint("user", i), "r", "<x/>", isTyping)
		}
		if n := len(h.heard()); n != typingCopies {
			t.Errorf("a shard makes %d copies at once", n)
		}
	})
}

// TestTypingForgetsWhoLeft: what is counted by member does not grow with those who came
// and left.
func TestTypingForgetsWhoLeft(t *testing.T) {
	h := typingRoom(t, nil, "bob")
	for i := range 20 {
		user := fmt.Sprint("user", i)
		h.say(user, "r", "#join")
		h.say(user, "r", "<x/>", isTyping)
		h.say(user, "r", "#leave")
	}
	kept, err := ask(t.Context(), h.e, "sip:r@x.org", func(r *room) int { return len(r.typists) })
	if err != nil || kept > 1 {
		t.Errorf("%d are kept, %v", kept, err)
	}
}

// TestTypingHoldsNothingUp: a copy of it that nobody answers does not keep its member from
// the next message, nor a late outcome from counting.
func TestTypingHoldsNothingUp(t *testing.T) {
	h := typingRoom(t, nil, "bob")
	h.answers("bob", evapi.Result{}) // nothing, ever
	h.want(h.say("alice", "r", "<x/>", isTyping), 200, 1)
	typing := h.relay.take()
	if len(typing) != 1 {
		t.Fatalf("typing: %+v", typing)
	}
	h.answers("bob", result(200))
	h.want(h.say("alice", "r", "hello"), 200, 1)
	h.wantHeard("bob<r: [alice]: hello")
	h.e.Result(evapi.Result{CallID: typing[0].callID, Code: 408})
	h.want(h.say("alice", "r", "you"), 200, 1)
	h.wantHeard("bob<r: [alice]: you")
	if n := testutil.ToFloat64(h.e.metrics.deliveries.WithLabelValues("stray")); n != 0 {
		t.Errorf("%v stray outcomes", n)
	}
}
