package engine

import (
	"fmt"
	"hash/maphash"
	"testing"
	"testing/synctest"
	"time"

	"imcd/evapi"
)

// TestAutoReplies is what people and machines say, and after how many messages of one
// kind somebody is taken for a machine.
func TestAutoReplies(t *testing.T) {
	t.Parallel()
	const most = 3
	type line struct{ who, text string }
	repeat := func(n int, lines ...line) (all []line) {
		for range n {
			all = append(all, lines...)
		}
		return all
	}
	for _, tt := range []struct {
		name    string
		said    []line
		gap     time.Duration
		refused int // index of the first message that is refused; -1: none
	}{
		{"one answers every message", repeat(5, line{"bob", "?"}, line{"alice", "I am away"}), time.Second, 8},
		{"two answer each other", repeat(5, line{"alice", "I am away"}, line{"bob", "Out of office"}), time.Second, 8},
		{"slowly", repeat(9, line{"alice", "I am away"}, line{"bob", "Out of office"}), 6 * time.Second, -1},
		{"three", repeat(5, line{"alice", "a"}, line{"bob", "b"}, line{"carol", "c"}), time.Second, 12},
		{"a monologue", repeat(20, line{"alice", "alarm"}), time.Second, -1},
		{"a person says yes three times", append(repeat(3, line{"bob", "ready?"}, line{"alice", "yes"}), line{"alice", "no"},
			line{"bob", "ready?"},
			line{"alice", "yes"}), time.Second, -1},
		{"short words", repeat(2, line{"bob", "ok"}, line{"alice", "ok"}), time.Second, -1},
	} {
		a := &autoReplies{seed: maphash.MakeSeed()}
		now, refused, seq := time.Unix(0, 0), -1, uint64(0)
		for i, l := range tt.said {
			if now = now.Add(tt.gap); a.take(l.who, []byte(l.text), seq+1, most, now) {
				refused = i
				break
			}
			seq++
		}
		if refused != tt.refused {
			t.Errorf("%s: message %d is refused, not %d", tt.name, refused, tt.refused)
		}
	}
}

// TestAutoRepliesEcho: a machine that repeats what it hears makes a longer text each time.
func TestAutoRepliesEcho(t *testing.T) {
	t.Parallel()
	a := &autoReplies{seed: maphash.MakeSeed()}
	text, now := "hello", time.Unix(0, 0)
	for i := range uint64(20) {
		who := []string{"alice", "bob"}[i%2]
		if a.take(who, []byte(text), i+1, 3, now) {
			if i < 8 {
				t.Errorf("refused as message %d", i)
			}
			return
		}
		text = "You said: [" + who + "]: " + text
	}
	t.Error("two echoes go on for ever")
}

// TestAutoRepliesBound: a room remembers the last senders only, and no long texts.
func TestAutoRepliesBound(t *testing.T) {
	t.Parallel()
	a := &autoReplies{seed: maphash.MakeSeed()}
	now := time.Unix(0, 0)
	for i := range uint64(10 * autoRepliers) {
		now = now.Add(time.Millisecond)
		if a.take(fmt.Sprint("user", i), make([]byte, maxEcho+1), i+1, 3, now) || len(a.last) > 0 {
			t.Fatalf("message %d: refused, or its text is kept", i)
		}
	}
	for i := range uint64(autoRepliers) {
		if s := a.find(fmt.Sprint("user", 10*autoRepliers-1-i)); s.seq != 10*autoRepliers-i {
			t.Errorf("sender %d before the last is not remembered", i)
		}
	}
}

// TestAutoRepliesEnd: two members that answer every copy end by themselves, nobody is
// sent a notice for it, and they are heard again after a silence.
func TestAutoRepliesEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.AutoReplies = 5 })
		h.say("alice", "chat-1", "#create")
		h.say("bob", "chat-1", "#join")
		h.heard()
		said := 0
		for ; said < 100; said++ {
			who := []string{"alice", "bob"}[said%2]
			a := h.say(who, "chat-1", who+" is away")
			if a.Code == 200 {
				continue
			}
			if want := (evapi.Answer{Code: 480, RC: -208, Reason: "Too many automatic answers",
				RetryAfter: autoReplyTime}); a != want {
				t.Errorf("answered %+v, not %+v", a, want)
			}
			break
		}
		if said != 12 {
			t.Errorf("%d messages before one was refused, not 12", said)
		}
		if heard := h.heard(); len(heard) != said {
			t.Errorf("%d copies and notices of %d messages", len(heard), said)
		}
		h.pass(autoReplyTime + time.Second)
		h.want(h.say("alice", "chat-1", "alice is away"), 200, 1)
	})
}
