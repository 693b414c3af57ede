package engine

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

// pair makes a room r with alice and bob in it.
func pair(t *testing.T, change func(*Config)) *house {
	h := newHouse(t, change)
	h.say("alice", "r", "#create")
	h.say("bob", "r", "#join")
	h.heard()
	return h
}

// answers sets what bob's device answers; 0: nothing, ever.
func (h *house) answers(user string, r evapi.Result) {
	h.relay.set(func() { h.relay.codes[user] = r })
}

// bodies are the texts of what a user was sent, those in a row that are one copy
// sent again counted once.
func bodies(copies []got, user string) []string {
	var list []string
	last := ""
	for _, c := range copies {
		if strings.HasPrefix(c.to, "sip:"+user+"@") && c.callID != last {
			_, text, _ := strings.Cut(c.body, "]: ")
			list = append(list, text)
			last = c.callID
		}
	}
	return list
}

func numbers(from, to int) []string {
	var list []string
	for i := from; i <= to; i++ {
		list = append(list, fmt.Sprint(i))
	}
	return list
}

func (h *house) wantBodies(copies []got, user string, want []string) {
	h.t.Helper()
	if have := bodies(copies, user); strings.Join(have, " ") != strings.Join(want, " ") {
		h.t.Errorf("%s was sent %q, want %q", user, have, want)
	}
}

// A member that is offline gets all it missed, in order, when it registers; the
// others are not held up, and nothing is kept in memory for it.
func TestOfflineMember(t *testing.T) {
	h := pair(t, nil)
	h.say("carol", "r", "#join")
	h.heard()
	h.answers("bob", result(404))
	for i := 1; i <= 100; i++ {
		h.want(h.say("alice", "r", fmt.Sprint(i)), 200, 1)
	}
	copies := h.relay.take()
	h.wantBodies(copies, "carol", numbers(1, 100))
	h.wantBodies(copies, "bob", numbers(1, 1))
	h.answers("bob", result(200))
	h.e.Registered("sip:BOB@x.org;transport=udp")
	h.until("all delivered", func() bool { return len(bodies(copies, "bob")) >= 100 || more(h, &copies) })
	h.quiet()
	more(h, &copies)
	h.wantBodies(copies, "bob", numbers(1, 100))
	h.say("alice", "r", "101")
	more(h, &copies)
	h.wantBodies(copies, "bob", numbers(1, 101))
}

// more takes what was sent meanwhile; always false.
func more(h *house, copies *[]got) bool {
	*copies = append(*copies, h.relay.take()...)
	return false
}

// What was not delivered before the end is delivered after it; what was, is not
// delivered again.
func TestDeliveryAfterRestart(t *testing.T) {
	h := pair(t, nil)
	h.answers("bob", result(480))
	for i := 1; i <= 40; i++ {
		h.say("alice", "r", fmt.Sprint(i))
	}
	h.say("carol", "r", "#join")
	first := h.relay.take()
	h.say("alice", "r", "41")
	h.wantBodies(h.relay.take(), "carol", numbers(41, 41))
	h.close()

	n := openHouse(t, h.store, nil)
	var copies []got
	n.until("delivered", func() bool { more(n, &copies); return len(bodies(copies, "bob")) > 40 })
	n.quiet()
	more(n, &copies)
	n.wantBodies(copies, "bob", numbers(1, 41))
	n.wantBodies(copies, "carol", nil)
	n.wantBodies(copies, "alice", nil)
	for _, c := range first {
		if strings.HasSuffix(c.body, ": 1") && c.callID != copies[0].callID {
			t.Errorf("message 1 had Call-ID %s and now has %s", c.callID, copies[0].callID)
		}
	}
}

// Who has no outcome yet at the end does not make the others get again what they
// have.
func TestMuteMemberAtTheEnd(t *testing.T) {
	h := pair(t, nil)
	h.say("carol", "r", "#join")
	h.heard()
	h.answers("bob", evapi.Result{})
	<-h.post("alice", "r@x.org", "one")
	<-h.post("alice", "r@x.org", "two")
	var copies []got
	h.until("carol has both", func() bool { more(h, &copies); return len(bodies(copies, "carol")) == 2 })
	h.cut()
	n := openHouse(t, h.store, nil)
	copies = nil
	n.until("bob has both", func() bool { more(n, &copies); return len(bodies(copies, "bob")) == 2 })
	n.quiet()
	more(n, &copies)
	n.wantBodies(copies, "carol", nil)
}

// A crash: nothing is flushed. Everything arrives, in order, and what arrives
// twice has the Call-ID it had.
func TestDeliveryAfterCrash(t *testing.T) {
	h := pair(t, func(c *Config) { c.CursorFlush = time.Hour })
	for i := 1; i <= 20; i++ {
		h.say("alice", "r", fmt.Sprint(i))
	}
	before := h.relay.take()
	stored := h.store.copy()
	h.close()

	n := openHouse(t, stored, nil)
	var copies []got
	n.until("delivered", func() bool { more(n, &copies); return len(bodies(copies, "bob")) >= 20 })
	ids := map[string]string{}
	for _, c := range before {
		ids[c.body] = c.callID
	}
	for _, c := range copies {
		if c.callID != ids[c.body] {
			t.Errorf("%q has Call-ID %s, had %s", c.body, c.callID, ids[c.body])
		}
	}
	n.wantBodies(copies, "bob", numbers(1, 20))
}

// Cursors are written with what is written anyway.
func TestCursorsTravelAlong(t *testing.T) {
	h := pair(t, func(c *Config) { c.CursorFlush = time.Hour })
	h.want(h.say("alice", "r", "one"), 200, 1)
	h.wantHeard("bob<r: [alice]: one")
	commits := h.store.committed()
	for _, s := range h.e.shards {
		s.inbox.post(func() { s.delivery.flush(nil) })
	}
	h.want(h.say("alice", "r", "two"), 200, 1)
	if n := h.store.committed() - commits; n != 1 {
		t.Errorf("%d commits, not 1", n)
	}
	stored := h.store.copy()
	h.close()

	n := openHouse(t, stored, nil)
	var copies []got
	n.until("delivered", func() bool { more(n, &copies); return len(bodies(copies, "bob")) > 0 })
	n.wantBodies(copies, "bob", []string{"two"})
}

// Nor do they wait for long if nothing else is written.
func TestCursorsAlone(t *testing.T) {
	h := pair(t, nil)
	h.want(h.say("alice", "r", "one"), 200, 1)
	h.wantHeard("bob<r: [alice]: one")
	h.until("written", func() bool {
		st, err := h.e.Stats(t.Context())
		return err == nil && st.Unwritten == 0
	})
	stored := h.store.copy()
	h.close()

	n := openHouse(t, stored, nil)
	n.quiet()
	n.wantHeard()
}

// More than a member may be owed is dropped, oldest first, and it hears so once
// how many it missed.
func TestMemberBacklog(t *testing.T) {
	h := pair(t, func(c *Config) { c.MemberBacklog = 10 })
	h.answers("bob", result(404))
	for i := 1; i <= 50; i++ {
		h.say("alice", "r", fmt.Sprint(i))
	}
	h.heard()
	h.answers("bob", result(200))
	h.e.Registered("sip:bob@x.org")
	var copies []got
	h.until("delivered", func() bool { more(h, &copies); return len(copies) >= 11 })
	h.quiet()
	more(h, &copies)
	var notices []string
	var messages []got
	for _, c := range copies {
		if strings.HasPrefix(c.body, "***") {
			notices = append(notices, c.body)
		} else {
			messages = append(messages, c)
		}
	}
	h.wantBodies(messages, "bob", numbers(41, 50))
	if len(notices) != 1 || !strings.HasPrefix(notices[0], "*** 40 messages") {
		t.Errorf("heard %q", notices)
	}
}

// The same for what the room does not keep any more.
func TestPrunedMessages(t *testing.T) {
	h := pair(t, func(c *Config) { c.RoomMessages = 5 })
	h.answers("bob", result(404))
	for i := 1; i <= 50; i++ {
		h.say("alice", "r", fmt.Sprint(i))
	}
	h.e.pruneOnce(t.Context())
	h.heard()
	h.answers("bob", result(200))
	h.e.Registered("sip:bob@x.org")
	h.until("delivered", func() bool { return len(h.peek()) >= 6 })
	h.quiet()
	heard := strings.Join(h.heard(), "\n")
	want := "bob<r: *** 45 messages of this room were dropped before they reached you."
	if strings.Count(heard, "***") != 1 || !strings.Contains(heard, want) ||
		!strings.Contains(heard, "[alice]: 46\nbob<r: [alice]: 47\nbob<r: [alice]: 48\nbob<r: [alice]: 49\n"+
			"bob<r: [alice]: 50") {
		t.Errorf("heard\n%s", heard)
	}
}

func (h *house) peek() []got {
	h.relay.mu.Lock()
	defer h.relay.mu.Unlock()
	return h.relay.copies
}

func TestHistory(t *testing.T) {
	h := newHouse(t, nil)
	h.say("alice", "r", "#create")
	h.heard()
	runSteps(t, h, []step{
		{"alice", "r", "#history", 200, 1, []string{"alice<r: *** Nothing has been said"}},
		{"alice", "r", "one", 200, 1, nil},
		{"alice", "r", "two", 200, 1, nil},
		{"alice", "r", "three", 200, 1, nil},
		{"bob", "r", "#history", 403, -142, []string{"bob<r: *** You are not"}},
		{"alice", "r", "#invite bob", 200, 1, []string{"alice<", "bob<"}},
		{"bob", "r", "#history", 403, -142, []string{"bob<r: *** You are invited"}},
		{"alice", "r", "#history 0", 400, -140, []string{"alice<r: *** '0' is not a number"}},
		{"alice", "r", "#history 1 2", 400, -140, []string{"alice<r: *** Too many"}},
	})
}

func TestHistoryLines(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.HistoryOnJoin = 2 })
	h.say("alice", "r", "#create")
	for i := 1; i <= 5; i++ {
		h.say("alice", "r", fmt.Sprint(i))
	}
	h.say("alice", "r", "\x89PNG\x00", "Content-Type: image/png\r\n")
	h.heard()
	h.say("bob", "r", "#join")
	h.until("history", func() bool { return len(h.peek()) >= 3 })
	h.quiet()
	heard := h.heard()
	want := regexp.MustCompile(`^bob<r: Last messages, times in UTC:\n5 \d\d:\d\d \[alice\]: 5\n` +
		`6 \d\d:\d\d \[alice\]: \(picture, 5 bytes\)$`)
	if len(heard) != 3 || !want.MatchString(heard[2]) {
		t.Errorf("on joining heard %q", heard)
	}
	h.say("alice", "r", "several\n[bob]: lines\n\nthere")
	h.heard()
	h.say("bob", "r", "#history 3")
	h.until("history", func() bool { return len(h.peek()) >= 1 })
	h.quiet()
	copies := h.relay.take()
	want = regexp.MustCompile(`^Last [^\n]+:\n5 .+ \[alice\]: 5\n6 .+\n7 .+ \[alice\]: several\n  \[bob\]: lines\n\n` +
		`  there$`)
	if len(copies) != 1 || !want.MatchString(copies[0].body) || !strings.Contains(copies[0].headers, "In-Reply-To") {
		t.Errorf("history is %+v", copies)
	}
}

// The same request again is answered the same way and carried out once: while it
// is being carried out, afterwards, and after a restart.
func TestRepeatedRequests(t *testing.T) {
	h := pair(t, nil)
	m := h.request("alice", "r@x.org", "once")
	h.store.set(nil)
	h.store.mu.Lock()
	h.store.gate = make(chan struct{})
	h.store.mu.Unlock()
	first := h.send(m)
	h.until("committing", h.e.committer.taken)
	second := h.send(again2(m))
	close(h.store.gate)
	h.want(<-first, 200, 1)
	h.want(<-second, 200, 1)
	h.quiet()
	h.want(<-h.send(again2(m)), 200, 1)
	h.quiet()
	h.wantHeard("bob<r: [alice]: once")
	join := h.request("carol", "r@x.org", "#join")
	h.want(<-h.send(join), 200, 1)
	h.quiet()
	h.heard()
	h.close()

	n := openHouse(t, h.store, nil)
	n.want(<-n.send(again2(m)), 200, 1)
	n.want(<-n.send(again2(join)), 200, 1)
	n.quiet()
	n.wantHeard()
	n.want(n.say("alice", "r", "twice"), 200, 1)
	n.wantHeard("bob<r: [alice]: twice", "carol<r: [alice]: twice")
}

// again2 is the same request in another frame.
func again2(m *evapi.Message) *evapi.Message { c := *m; return &c }

// A request that failed is evaluated again when it is repeated.
func TestRepetitionAfterFailure(t *testing.T) {
	h := pair(t, nil)
	m := h.request("alice", "r@x.org", "hello")
	h.store.set(func([]store.Change) (error, bool) { return store.ErrUnavailable, false })
	h.want(<-h.send(m), 503, -209)
	h.store.set(nil)
	h.until("healthy", h.e.Healthy)
	h.quiet()
	h.heard()
	h.want(<-h.send(again2(m)), 200, 1)
	h.quiet()
	h.wantHeard("bob<r: [alice]: hello")
}

// Without a database what is committed goes on being delivered.
func TestDeliveryWithoutDatabase(t *testing.T) {
	h := pair(t, func(c *Config) { c.RetryMax = 10 * time.Millisecond })
	h.relay.set(func() { h.relay.down = true })
	for i := 1; i <= 20; i++ {
		h.want(h.say2("alice", "r", fmt.Sprint(i)), 200, 1)
	}
	h.store.mu.Lock()
	h.store.away, h.store.fail = true, func([]store.Change) (error, bool) { return store.ErrUnavailable, false }
	h.store.mu.Unlock()
	h.want(h.say2("alice", "r", "21"), 503, -209)
	h.relay.set(func() { h.relay.down = false })
	h.e.Wake()
	var copies []got
	h.until("delivered", func() bool { more(h, &copies); return len(bodies(copies, "bob")) >= 20 })
	h.wantBodies(copies, "bob", numbers(1, 20))
	h.store.mu.Lock()
	h.store.away, h.store.fail = false, nil
	h.store.mu.Unlock()
	h.until("healthy", h.e.Healthy)
	h.heard()
	h.want(h.say("alice", "r", "22"), 200, 1)
	h.wantHeard("bob<r: [alice]: 22")
}

func TestDurabilityMemory(t *testing.T) {
	h := pair(t, func(c *Config) { c.Durability = DurabilityMemory })
	h.store.mu.Lock()
	h.store.gate = make(chan struct{})
	h.store.mu.Unlock()
	h.want(h.say2("alice", "r", "hello"), 200, 1)
	close(h.store.gate)
	h.quiet()
	h.wantHeard("bob<r: [alice]: hello")
}

// What a Kamailio had taken when it was restarted is sent again at once.
func TestKamailioRestarted(t *testing.T) {
	h := pair(t, nil)
	conn := &evapi.Conn{}
	h.relay.set(func() { h.relay.conns, h.relay.codes["bob"] = []*evapi.Conn{conn}, evapi.Result{} })
	<-h.post("alice", "r@x.org", "1")
	h.until("sent", func() bool { return len(h.peek()) == 1 })
	h.e.Lost(&evapi.Conn{}) // another one
	h.answers("bob", result(200))
	h.e.Lost(conn)
	h.quiet()
	copies := h.relay.take()
	if len(copies) != 2 || !copies[0].same(copies[1]) {
		t.Errorf("sent %+v", copies)
	}
}
