package engine

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"imcd/engine/store"
)

// without lets commits with such a change fail until it is called with nil: the database is away for them.
func (m *memStore) without(fails func(c *store.Change) bool) {
	m.set(nil)
	if fails != nil {
		m.set(func(changes []store.Change) (error, bool) {
			if slices.ContainsFunc(changes, func(c store.Change) bool { return fails(&c) }) {
				return store.ErrUnavailable, false
			}
			return nil, false
		})
	}
}

func anyChange(*store.Change) bool { return true }

// groupCount is how many groups an engine has.
func (h *house) groupCount() (n int) {
	for _, s := range h.e.shards {
		done := make(chan int)
		onShard(s, func(s *shard) { done <- len(s.groups.byRoom) })
		n += <-done
	}
	return n
}

// TestNativeCreationUnstored: a group that could not be stored is refused, and nobody hears of it.
func TestNativeCreationUnstored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kept := newMemStore()
		h := newNativeHouse(t, kept, nil)
		v := newView(h)
		h.nativeFor("alice", "bob")
		kept.without(func(c *store.Change) bool { return c.Op == store.PutRoom })
		a := h.ask("INVITE", "alice", groupFactory, listOf("bob"), "Subject: Growers\r\n",
			"Content-Type: application/resource-lists+xml\r\n")
		if a.Code != 503 {
			t.Fatalf("answer %+v", a)
		}
		kept.without(nil)
		v.passes(time.Minute)
		h.nativeFor("alice", "bob")
		v.passes(time.Minute)
		for who := range v.rooms {
			t.Errorf("heard of it: %s", who)
		}
		if n := h.groupCount(); n != 0 {
			t.Errorf("%d groups are kept", n)
		}
		room := h.makes("alice", "Growers", "bob")
		v.passes(time.Second)
		for _, user := range []string{"alice", "bob"} {
			if got := v.shows(user, room); got != "Growers: alice* bob" {
				t.Errorf("%s sees %q", user, got)
			}
		}
	})
}

// TestNativeSessionUnstored: the session of a client is not stored, because the database is away. Whatever becomes of
// the room and of imcd then, the client leaves by the BYE of the session that it has.
func TestNativeSessionUnstored(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ own, loaded, killed bool }{
		"of an INVITE":                       {},
		"of an INVITE, the room is loaded":   {loaded: true},
		"of an INVITE, and imcd is killed":   {killed: true},
		"of an INVITE, loaded and killed":    {loaded: true, killed: true},
		"of its own":                         {own: true},
		"of its own, and imcd is killed":     {own: true, killed: true},
		"of its own, and a text was refused": {own: true, loaded: true},
	} {
		inBubble(t, name, func(t *testing.T) {
			kept := newMemStore()
			h, v, room := newGrowers(t, kept, []string{"alice", "bob"}, "bob")
			v.passes(time.Minute)
			target := strings.TrimPrefix(room, "sip:")
			h.want(<-h.post("alice", target, "#modify bob admin"), 200, 1)
			v.passes(time.Minute)
			bob := v.rooms["bob "+room]
			session := bob.session
			kept.without(anyChange)
			if c.own {
				if a := h.ask("INVITE", "bob", room, "", "Subject: Tomatoes\r\n"); a.Code != 503 {
					t.Errorf("answer %+v", a)
				}
			} else {
				h.ask("SUBSCRIBE", "bob", groupFactory, listOf(), "Event: conference\r\n",
					"Content-Type: application/resource-lists+xml\r\n")
			}
			if n := h.invited("bob", time.Second); n > 0 {
				t.Errorf("bob was invited %d times while the database was away", n)
			}
			if c.loaded {
				h.want(<-h.post("alice", target, "hello"), 503, -209)
			}
			kept.without(nil)
			v.passes(time.Minute)
			if is := bob.session != session; is == c.own {
				t.Errorf("bob was invited again: %v", is)
			}
			if c.killed {
				h.cut()
				h = newNativeHouse(t, kept.killed(), nil)
			}
			h.askIn(bob.session, "BYE", "bob", room, "")
			if a := h.ask("SUBSCRIBE", "bob", room, "", "Event: conference\r\n"); a.Code != 403 {
				t.Errorf("bob has not left: answer %+v", a)
			}
		})
	}
}

// TestNativeWhileAway: a client that was started again, or for the first time, while a room could not be loaded has it
// soon after that.
func TestNativeWhileAway(t *testing.T) {
	t.Parallel()
	for name, starts := range map[string]func(h *house){
		"registers": func(h *house) { h.nativeFor("carol") },
		"has no room": func(h *house) {
			h.ask("SUBSCRIBE", "bob", groupFactory, listOf(), "Event: conference\r\n",
				"Content-Type: application/resource-lists+xml\r\n")
		},
	} {
		inBubble(t, name, func(t *testing.T) {
			kept := newMemStore()
			h, v, room := newGrowers(t, kept, []string{"alice", "bob"}, "bob", "carol")
			v.passes(time.Minute)
			away := func(is bool) {
				kept.without(nil)
				kept.mu.Lock()
				kept.away = is
				kept.mu.Unlock()
				if is {
					kept.without(anyChange)
				}
			}
			away(true)
			h.want(<-h.post("alice", strings.TrimPrefix(room, "sip:"), "hello"), 503, -209)
			delete(v.rooms, "bob "+room)
			starts(h)
			v.passes(time.Minute)
			away(false)
			v.passes(time.Minute)
			user := "carol"
			if name == "has no room" {
				user = "bob"
			}
			if got := v.shows(user, room); got != "Growers: alice* bob carol" {
				t.Errorf("%s sees %q", user, got)
			}
		})
	}
}
