package engine

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"imcd/engine/store"
	"imcd/evapi"
	"imcd/evapi/sipmsg"
)

// Bounds that no other test is about: what is above them is refused, dropped or cut. Those
// in bytes are in held_test.go.

// TestRoomLogBytes: the log of a room is bounded in bytes (room_log_bytes).
func TestRoomLogBytes(t *testing.T) {
	const limit = 64 << 10
	bubble(t, func(c *Config) { c.LogBytes = limit }, func(h *house) {
		h.answers("bob", evapi.Result{})
		for range 40 {
			h.says(strings.Repeat("x", 2000))
		}
		r := h.e.shardOf(store.Name{User: "r", Host: "x.org"}).rooms["r@x.org"]
		if n := r.log.bytes; n > limit || n < limit/2 {
			t.Errorf("%d bytes are in the log", n)
		}
	})
}

// TestNotesAreBounded: for one user (maxNotes); what is more is dropped.
func TestNotesAreBounded(t *testing.T) {
	bubble(t, func(c *Config) { c.HashSize = 0 }, func(h *house) {
		h.answers("bob", evapi.Result{})
		const asked = maxNotes + 50
		for range asked {
			h.post("bob", "r@x.org", "#help")
		}
		synctest.Wait()
		var notes int
		onShard(h.e.shards[0], func(s *shard) { notes = len(s.delivery.streams["bob@x.org"].notes) })
		synctest.Wait()
		if notes != maxNotes {
			t.Errorf("%d wait for a user", notes)
		}
		if n := testutil.ToFloat64(h.e.metrics.dropped); n != asked-maxNotes {
			t.Errorf("%v were dropped", n)
		}
	})
}

// TestNoteTriesAreBounded: an answer that is lost with the connection again and again is
// given up (maxTries).
func TestNoteTriesAreBounded(t *testing.T) {
	bubble(t, nil, func(h *house) {
		h.answers("bob", evapi.Result{Code: 503, Local: true})
		h.post("bob", "r@x.org", "#help")
		h.pass(time.Minute)
		if n := len(h.to("bob")); n != maxTries {
			t.Errorf("an answer was sent %d times", n)
		}
	})
}

// TestKeptAtOnce: the end of a large room keeps no more notices than maxKeptOnce.
func TestKeptAtOnce(t *testing.T) {
	bubble(t, func(c *Config) { c.HashSize = 0 }, func(h *house) {
		h.relay.set(func() { h.relay.down = true })
		onShard(h.e.shards[0], func(s *shard) {
			r := s.rooms["r@x.org"]
			for i := range maxKeptOnce + 50 {
				r.add(store.Name{User: fmt.Sprint("u", i), Host: "x.org"}, 0)
			}
		})
		answer := h.post("alice", "r@x.org", "#destroy")
		h.pass(time.Second)
		h.want(<-answer, 200, 1)
		if _, stored := h.waiting(); stored != maxKeptOnce {
			t.Errorf("%d notices are stored", stored)
		}
	})
}

// TestInvitationsAreBounded: a room without a limit of members has one of invitations.
func TestInvitationsAreBounded(t *testing.T) {
	bubble(t, func(c *Config) { c.HashSize = 0 }, func(h *house) {
		onShard(h.e.shards[0], func(s *shard) {
			for i := range maxInvited - 1 {
				s.rooms["r@x.org"].add(store.Name{User: fmt.Sprint("u", i), Host: "x.org"}, store.MemberInvited)
			}
		})
		h.says("#invite one")
		if a := h.answerTo("#invite another"); a.Code != 403 {
			t.Errorf("%+v", a)
		}
	})
}

// TestRoomListsAreBounded: no more wait for the list of rooms than listQueue.
func TestRoomListsAreBounded(t *testing.T) {
	bubble(t, nil, func(h *house) {
		busy := make(chan struct{})
		for _, s := range h.e.shards {
			s.inbox.post(func() { <-busy })
		}
		var answers []chan evapi.Answer
		for range listQueue + 20 {
			answers = append(answers, h.post("alice", "r@x.org", "#rooms"))
			synctest.Wait()
		}
		for i, ch := range answers {
			refused := false
			select {
			case a := <-ch:
				h.wantRefused(a)
				refused = true
			default:
			}
			if want := i > listQueue; refused != want { // one is being answered
				t.Errorf("request %d was refused: %v", i, refused)
			}
		}
		close(busy)
		h.noneHeld()
	})
}

// TestInboxUsersAreBounded: users that have registered wait for a shard, usersLimit at most.
func TestInboxUsersAreBounded(t *testing.T) {
	b := newInbox(1)
	for i := range usersLimit + 10 {
		b.heard(fmt.Sprint("u", i), true)
	}
	var l inboxBatch
	if b.take(&l); len(l.users) != usersLimit {
		t.Errorf("%d users wait", len(l.users))
	}
}

// TestSeenIsBounded: of the answers that are remembered, a shard has its part of seenTotal.
func TestSeenIsBounded(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.HashSize = 10 })
	const most = seenTotal >> 10
	got := make(chan int)
	onShard(h.e.shards[0], func(s *shard) {
		for i := range 2 * most {
			s.dedupe.remember(&seenRequest{key: seenKey{byte(i), byte(i >> 8), 1}, at: s.now}, s.now)
		}
		got <- max(len(s.dedupe.known), len(s.dedupe.order))
	})
	if n := <-got; n != most {
		t.Errorf("%d answers are remembered, want %d", n, most)
	}
}

// TestTypingIsBounded: a shard takes typingRequests in a round.
func TestTypingIsBounded(t *testing.T) {
	bubble(t, func(c *Config) { c.HashSize = 0 }, func(h *house) {
		got := make(chan int, 1)
		onShard(h.e.shards[0], func(s *shard) {
			for range 2 * typingRequests {
				req := h.e.newRequest(h.request("alice", "r@x.org", "x"))
				h.relay.set(func() { h.relay.answers[req.msg] = make(chan evapi.Answer, 1) })
				h.e.opened(req)
				s.delivery.typing(req)
			}
			got <- len(s.delivery.typedNow)
		})
		if n := <-got; n != typingRequests {
			t.Errorf("%d are taken in a round", n)
		}
	})
}

// TestShardProbesAreBounded: messages in many rooms try no more members that are away in a
// second than probesShard.
func TestShardProbesAreBounded(t *testing.T) {
	const rooms, members, seconds = 8, 20, 20
	bubble(t, func(c *Config) { c.HashSize, c.SignEvery = 0, time.Second }, func(h *house) {
		say := func(room, text string) {
			h.post("alice", room+"@x.org", text)
			synctest.Wait()
		}
		for i := range rooms {
			room := fmt.Sprint("room", i)
			say(room, "#create")
			for j := range members {
				h.answers(fmt.Sprint("u", j), result(480))
				say(room, fmt.Sprint("#add u", j))
			}
			say(room, "hello")
		}
		h.pass(2 * time.Second)
		h.relay.take()
		for range seconds {
			for i := range rooms {
				say(fmt.Sprint("room", i), "more")
			}
			h.pass(time.Second)
		}
		n := 0
		for _, c := range h.relay.take() {
			if strings.HasPrefix(c.to, "sip:u") {
				n++
			}
		}
		if most := (seconds + 1) * probesShard; n > most || n < most/2 {
			t.Errorf("%d tries in %d s, want at most %d and not many fewer", n, seconds, most)
		}
	})
}

// TestFieldsAreBounded: what a client chooses is cut, or not kept, where it is too long.
func TestFieldsAreBounded(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	if n := len(cleanDisplay(long(200))); n != maxDisplay {
		t.Errorf("a display name of %d characters", n)
	}
	if n := len(logged(long(1000))); n != maxLogged {
		t.Errorf("%d characters in the log", n)
	}
	for n, want := range map[int]int{store.MaxMessageID: store.MaxMessageID, store.MaxMessageID + 1: 0} {
		req := &request{content: sipmsg.Content{MessageID: long(n)}}
		if id := req.messageID(); len(id) != want {
			t.Errorf("a message's ID of %d bytes becomes one of %d", n, len(id))
		}
	}
	id := "000-a-1-" + strings.Repeat("0", maxCopyID-len("000-a-1-")-1) + "a"
	if _, ok := parseCopyID(id); !ok {
		t.Errorf("a copy's ID of %d bytes is not read", len(id))
	}
	if _, ok := parseCopyID(id[:len(id)-1] + "0a"); ok {
		t.Errorf("a copy's ID of %d bytes is read", len(id)+1)
	}
	tags := appendTags(nil, strings.Repeat("tag,", 2*maxRequires))
	if len(tags) != maxRequires {
		t.Errorf("%d option tags are named", len(tags))
	}
	if r := refuseRequired([]string{long(100), long(100), long(100)}); len(r.unsupported) != 2*100+len(", ") ||
		len(r.unsupported) > maxUnsupported {
		t.Errorf("%d bytes of option tags", len(r.unsupported))
	}
	if name := newLanguage().nearest("help" + long(mostTyped)); name != "" {
		t.Errorf("a word of %d letters is taken for %q", len("help")+mostTyped, name)
	}
}

// TestPoisonTriesAreBounded: a word instead of a message becomes rarer, but not for ever (maxPoisonNotices).
func TestPoisonTriesAreBounded(t *testing.T) {
	bubble(t, func(c *Config) { c.HashSize, c.PoisonTries = 0, 3 }, func(h *house) {
		s := h.e.shards[0]
		w := &wait{seq: 1, poisonNotices: maxPoisonNotices + 20}
		for silent, want := range map[int]bool{3<<maxPoisonNotices - 1: false, 3 << maxPoisonNotices: true} {
			w.silent = silent
			if s.delivery.isPoison(w, 1, 0) != want {
				t.Errorf("after %d silent tries: poison %v", silent, !want)
			}
		}
	})
}
