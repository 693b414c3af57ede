package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
	"imcd/evapi/evapitest/kit"
)

// listen returns a Listener for all kinds that ends with the test.
func (h *house) listen(t *testing.T, events int, bytes int64) *Listener {
	l := h.e.NewListener(events, bytes)
	l.Listen(AllEvents)
	t.Cleanup(func() { l.Listen(0) })
	return l
}

// next returns the next event as text.
func next(t *testing.T, l *Listener) string {
	t.Helper()
	select {
	case ev := <-l.Events():
		l.Took(ev)
		words := []string{ev.Kind.String(), ev.Room.User, ev.User.User}
		if ev.By != ev.User && !ev.By.IsZero() {
			words = append(words, "by="+ev.By.User)
		}
		if ev.Seq > 0 {
			words = append(words, fmt.Sprint(ev.Seq))
		}
		for _, w := range []string{ev.Role, string(ev.Body), ev.ContentType, ev.Outcome, ev.Kamailio} {
			if w != "" {
				words = append(words, w)
			}
		}
		if ev.Code > 0 {
			words = append(words, fmt.Sprint(ev.Code))
		}
		if ev.Time.IsZero() {
			t.Errorf("%v has no time", words)
		}
		return strings.Join(words, " ")
	case <-time.After(time.Minute):
		t.Fatal("no event")
		return ""
	}
}

func TestEvents(t *testing.T) {
	h := newHouse(t, nil)
	l := h.listen(t, 100, 1<<20)
	h.relay.set(func() { h.relay.codes = map[string]evapi.Result{"dave": {Code: 488}, "erin": {Code: 404}} })
	for _, c := range []struct {
		from, body string
		want       []string
	}{
		{"alice", "#create", []string{"room_created chat-1 alice", "join chat-1 alice owner"}},
		{"bob", "hello", nil}, // refused: not a member
		{"bob", "#join", []string{"join chat-1 bob member"}},
		{"bob", "hello", []string{"message chat-1 bob 1 hello"}},
		{"alice", "#invite carol", nil},
		{"carol", "#deny", nil}, // was never in the room
		{"alice", "#modify bob admin", []string{"role chat-1 bob by=alice admin"}},
		{"alice", "#remove bob", []string{"leave chat-1 bob by=alice"}},
		{"alice", "#add dave", []string{"join chat-1 dave by=alice member"}},
		{"alice", "x", []string{"message chat-1 alice 2 x", "failure chat-1 dave 2 refused 488"}},
		{"alice", "#remove dave", []string{"leave chat-1 dave by=alice"}},
		{"alice", "#add erin", []string{"join chat-1 erin by=alice member"}},
		{"alice", "y", []string{"message chat-1 alice 3 y", "failure chat-1 erin 3 offline 404"}},
		{"alice", "#destroy", []string{"room_destroyed chat-1  by=alice"}},
	} {
		h.say(c.from, "chat-1", c.body)
		for _, want := range c.want {
			if got := next(t, l); got != want {
				t.Errorf("%s: %s: %q, want %q", c.from, c.body, got, want)
			}
		}
	}
	h.e.Linked("k1", true)
	if got := next(t, l); got != "kamailio   k1" {
		t.Errorf("got %q", got)
	}
}

// TestEventsAreDurable: what the database did not take has not happened.
func TestEventsAreDurable(t *testing.T) {
	h := newHouse(t, nil)
	l := h.listen(t, 100, 1<<20)
	h.store.set(func([]store.Change) (error, bool) { return errors.New("disk full"), false })
	if a := h.say("alice", "chat-1", "#create"); a.Code != 503 {
		t.Fatalf("answered %d", a.Code)
	}
	h.e.Linked("last", true) // events are in order
	if got := next(t, l); got != "kamailio   last" {
		t.Errorf("got %q", got)
	}
}

// TestListenWhileStoring: what was evaluated before somebody listens has no event, but is there when AwaitStored
// returns.
func TestListenWhileStoring(t *testing.T) {
	h := newHouse(t, nil)
	h.say("alice", "chat-1", "#create")
	commits := make(chan struct{})
	h.store.mu.Lock()
	h.store.gate = commits
	h.store.mu.Unlock()
	answer := h.post("alice", "chat-1@x.org", "hello")
	kit.Eventually(t, "it is being stored", func() bool { return h.e.committer.pending() > 0 })
	l := h.listen(t, 10, 1<<20)
	early, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.e.AwaitStored(early); !errors.Is(err, context.Canceled) {
		t.Errorf("while it is being stored: %v", err)
	}
	settled := make(chan error, 1)
	go func() { settled <- h.e.AwaitStored(t.Context()) }()
	close(commits)
	if err := <-settled; err != nil {
		t.Fatal(err)
	}
	if a := <-answer; a.Code != 200 {
		t.Fatalf("answered %d", a.Code)
	}
	items, err := h.e.History(t.Context(), "sip:chat-1@x.org", 5)
	if err != nil || len(items) != 1 || items[0].Body != "hello" || len(l.Events()) != 0 {
		t.Errorf("history %+v, %v, and %d events", items, err, len(l.Events()))
	}
}

// TestSlowListener: it hears that it lost something, and nobody waits for it:
// neither the engine nor another listener.
func TestSlowListener(t *testing.T) {
	h := newHouse(t, nil)
	slow, fat, good := h.listen(t, 2, 1<<20), h.listen(t, 100, 10), h.listen(t, 100, 1<<20)
	h.say("alice", "chat-1", "#create")
	for n := range 10 {
		if a := h.say("alice", "chat-1", fmt.Sprintf("message %d", n)); a.Code != 200 {
			t.Fatalf("answered %d", a.Code)
		}
	}
	for n := range 12 {
		got := next(t, good)
		if want := fmt.Sprintf("message chat-1 alice %d message %d", n-1, n-2); n > 1 && got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for name, l := range map[string]*Listener{"too many": slow, "too large": fat} {
		select {
		case <-l.Lost():
		default:
			t.Errorf("%s: no word of the loss", name)
		}
	}
	select {
	case <-good.Lost():
		t.Error("lost something")
	default:
	}
	// What was taken makes room again.
	for len(fat.Events()) > 0 {
		fat.Took(<-fat.Events())
	}
	if n := fat.waiting.Load(); n != 0 {
		t.Errorf("%d bytes are still charged", n)
	}
}

// TestNobodyListens: then events cost nothing on the way of a message.
func TestNobodyListens(t *testing.T) {
	h := newHouse(t, nil)
	l := h.listen(t, 10, 10)
	l.Listen(EventKamailio)
	s := h.e.shards[0]
	r := newRoom(store.Name{User: "chat-1", Host: "x.org"}, 1)
	c := &call{shard: s, room: r, req: &request{}}
	row := &store.MessageRow{Body: []byte("hello")}
	f := &sentCopy{room: r, member: &member{}, seq: 1}
	n := testing.AllocsPerRun(100, func() {
		c.posted(row)
		c.happened(EventJoin, r.name, "")
		s.delivery.failed(f, "offline", 404)
	})
	if n != 0 || c.events != nil {
		t.Errorf("%v allocations, %d events", n, len(c.events))
	}
	l.Listen(0)
	if h.e.events.wants(AllEvents) || len(h.e.events.listeners) != 0 {
		t.Error("somebody still listens")
	}
}

func TestEventKinds(t *testing.T) {
	var all EventKind
	for _, name := range EventNames() {
		k, ok := ParseEventKind(name)
		if !ok || k.String() != name || all&k != 0 {
			t.Errorf("%s: %v, %d", name, ok, k)
		}
		all |= k
	}
	if all != AllEvents {
		t.Errorf("named are %b of %b", all, AllEvents)
	}
	if _, ok := ParseEventKind("no_such_kind"); ok || AllEvents.String() != "" {
		t.Error("a kind that is none")
	}
}

func TestOverview(t *testing.T) {
	h := newHouse(t, nil)
	h.relay.set(func() { h.relay.codes = map[string]evapi.Result{"bob": {Code: 480}} })
	for _, s := range [][2]string{{"alice", "#create chat-1 private"}, {"alice", "#add bob"}, {"alice", "#invite carol"},
		{"alice", "hello"}} {
		if a := h.say(s[0], "chat-1", s[1]); a.Code != 200 {
			t.Fatalf("%v: %d %s", s, a.Code, a.Reason)
		}
	}
	h.heard() // all is settled
	got, err := h.e.Overview(t.Context())
	want := RoomSummary{Room: "sip:chat-1@x.org", Private: true, Members: 2, Invited: 1, Owner: "sip:alice@x.org",
		Sequence: 1, Backlog: 1, Away: 1}
	if err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("%+v, %v", got, err)
	}
}
