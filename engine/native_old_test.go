package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"imcd/engine/store"
)

// TestNativeOldReplies: a reply to a message that imcd does not know any more, since it was started again or because
// others were said since, names it to everybody by the name that they know. That is looked up in the store, and only
// then; what cannot be found in time goes without.
func TestNativeOldReplies(t *testing.T) {
	t.Parallel()
	restarts := func(h *house, v *clientView, _ string) *house {
		h.close()
		next := newNativeHouse(h.t.(*testing.T), h.store, nil)
		next.nativeFor("alice", "bob", "carol")
		pass(time.Second)
		v.h = next
		return next
	}
	speaks := func(h *house, v *clientView, target string) *house {
		for i := range maxNamed {
			h.want(<-h.post("carol", target, fmt.Sprint("more ", i)), 200, 1)
			pass(tick)
		}
		pass(time.Second)
		v.look()
		return h
	}
	stays := func(h *house, _ *clientView, _ string) *house { return h }
	for name, c := range map[string]struct {
		since    func(h *house, v *clientView, target string) *house
		by       string // who replies
		to       string // whose text is replied to
		store    func(h *house, target string)
		reads    int
		nameless bool // the name comes as it was
	}{
		"nothing since, another's":       {since: stays, by: "bob", to: "alice"},
		"nothing since, one's own":       {since: stays, by: "bob", to: "bob"},
		"restarted, another's":           {since: restarts, by: "bob", to: "alice", reads: 1},
		"restarted, one's own":           {since: restarts, by: "bob", to: "bob", reads: 1},
		"restarted, of a plain phone":    {since: restarts, by: "bob", to: "dora", reads: 1},
		"much since, another's":          {since: speaks, by: "bob", to: "alice", reads: 1},
		"much since, one's own":          {since: speaks, by: "bob", to: "bob", reads: 1},
		"restarted, nobody's":            {since: restarts, by: "bob", reads: 1, nameless: true},
		"restarted, a number":            {since: restarts, by: "bob", to: "60", nameless: true},
		"restarted, the store is slow":   {since: restarts, by: "bob", to: "bob", store: slow, reads: 1, nameless: true},
		"restarted, the store refuses":   {since: restarts, by: "bob", to: "bob", store: refuses, reads: 1, nameless: true},
		"restarted, it was deleted":      {since: restarts, by: "bob", to: "bob", store: deletes, reads: 1, nameless: true},
		"restarted, by another's name":   {since: restarts, by: "carol", to: "bob's own", reads: 1, nameless: true},
		"restarted, by who is no member": {since: restarts, by: "eve", to: "bob's own"},
	} {
		inBubble(t, name, func(t *testing.T) {
			h, v, room := newGrowers(t, newMemStore(), []string{"alice", "bob", "carol"}, "bob", "carol", "dora")
			v.passes(2 * time.Second)
			target := strings.TrimPrefix(room, "sip:")
			ids := map[string]map[string]string{"60": {"bob": "60"}, "": {"bob": "nobody-knows-it"},
				"bob's own": {"carol": "of-bob", "eve": "of-bob"}}
			for _, user := range []string{"alice", "bob", "dora"} {
				ids[user] = h.saysOld(v, user, room)
			}
			pass(time.Minute) // what has arrived is stored
			h = c.since(h, v, target)
			if c.store != nil {
				c.store(h, target)
			}
			h.store.mu.Lock()
			h.store.asked = nil
			h.store.calls["begun"] = 0
			h.store.mu.Unlock()
			const replying = "linphone.Replying-To-Message-ID"
			id := ids[c.to][c.by]
			begun := time.Now()
			a := <-h.post(c.by, target, cpimOf(c.by, room, "reply", linphoneSpace+"linphone.Ephemeral-Time: 86400\r\n"+
				replying+": "+id+"\r\nlinphone.Replying-To-Sender: <sip:x@x.org>\r\n", "reply"),
				"Content-Type: message/cpim\r\n")
			if took := time.Since(begun); took > nameTimeout+tick {
				t.Errorf("the answer took %v", took)
			}
			pass(5 * time.Second)
			h.store.mu.Lock()
			if n := h.store.calls["begun"]; n != c.reads {
				t.Errorf("%d reads, want %d: %v", n, c.reads, h.store.asked)
			}
			h.store.pace = 0
			h.store.mu.Unlock()
			if c.by == "eve" {
				h.want(a, 403, -202)
				return
			}
			h.want(a, 200, 1)
			cpims, _ := v.cpims()
			for _, user := range []string{"alice", "bob", "carol"} {
				want := ids[c.to][user]
				if c.nameless {
					want = id
				}
				if got := cpimHeader(cpims[user], replying); user != c.by && got != want {
					t.Errorf("%s gets %q, and knows it as %q", user, got, want)
				}
			}
		})
	}
}

func slow(h *house, _ string) {
	h.store.mu.Lock()
	h.store.pace = time.Minute
	h.store.mu.Unlock()
}

func refuses(h *house, _ string) {
	h.store.mu.Lock()
	h.store.errs = map[string]error{"Messages": store.ErrUnavailable}
	h.store.mu.Unlock()
}

func deletes(h *house, target string) {
	h.t.Helper()
	h.want(<-h.post("alice", target, "#delete 2"), 200, 1)
	pass(time.Second)
	h.relay.take()
}

// saysOld lets a user say something, and returns by which names the Linphones know it, by user.
func (h *house) saysOld(v *clientView, user, room string) map[string]string {
	h.t.Helper()
	body, contentType := cpimOf(user, room, "of-"+user, "", "old"), "Content-Type: message/cpim\r\n"
	if user == "dora" {
		body, contentType = "old", ""
	}
	h.want(<-h.post(user, strings.TrimPrefix(room, "sip:"), body, contentType), 200, 1)
	cpims, _ := v.cpims()
	ids := map[string]string{user: "of-" + user}
	for to, body := range cpims {
		ids[to] = cpimHeader(body, "imdn.Message-ID")
	}
	return ids
}
