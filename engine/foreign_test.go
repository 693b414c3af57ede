package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"imcd/engine/store"
	"imcd/evapi"
)

// abroad says something as a user of another domain.
func (h *house) abroad(user, room, body string) evapi.Answer {
	h.t.Helper()
	m := h.request("<sip:"+user+"@far.example>", room+"@x.org", body)
	m.Foreign = true
	a := <-h.send(m)
	h.quiet()
	return a
}

func TestForeignUsers(t *testing.T) {
	type step struct {
		from, body string // from: a name@ is of another domain
		code       int
		heard      string // part of what there is to hear; empty: nothing
	}
	for policy, steps := range map[string][]step{
		ForeignInvited: {
			{"m@", "#create", 403, ""}, {"m@", "#create b", 403, ""}, {"m@", "#join", 403, ""}, {"m@", "hello", 403, ""},
			{"m@", "#nonsense", 403, ""}, {"m@", "#rooms", 403, ""}, {"m@", "#help", 403, ""},
			{"m@", "#accept", 403, ""}, {"m@", "#create a b c", 403, ""},
			{"alice", "#create", 200, "You are its owner"},
			{"m@", "#join", 403, ""}, {"m@", "hello", 403, ""}, {"m@", "#list", 403, ""}, {"m@", "#help", 403, ""},
			{"m@", "", 403, ""},
			{"alice", "#invite m@far.example", 200, "invites you"},
			{"m@", "#accept", 200, "joined"}, {"m@", "hello", 200, "hello"}, {"m@", "#rooms", 403, ""},
			{"m@", "#create b", 403, ""},
			{"m@", "#help", 200, "Commands"}, {"alice", "#add n@far.example", 200, "joined"}, {"n@", "hi", 200, "hi"},
			{"m@", "#leave", 200, "left"},
			{"m@", "#join", 403, ""}, {"alice", "#invite m@far.example", 200, "invites you"}, {"m@", "#join", 200, "joined"},
		},
		ForeignRefuse: {
			{"alice", "#create", 200, "You are its owner"}, {"m@", "#join", 403, ""},
			{"alice", "#invite m@far.example", 403, "cannot be members here"},
			{"alice", "#add m@far.example", 403, "cannot be members here"}, {"old@", "hi", 200, "hi"},
			{"old@", "#leave", 200, "left"}, {"old@", "#join", 403, ""},
		},
		ForeignAllow: {
			{"m@", "#create", 200, "You are its owner"}, {"n@", "#join", 200, "joined"}, {"n@", "hi", 200, "hi"},
			{"n@", "#rooms", 200, "1 room"},
			{"x@", "hi", 403, "not in room"},
		},
	} {
		t.Run(policy, func(t *testing.T) {
			h := newHouse(t, func(c *Config) { c.ForeignUsers = policy })
			h.e.Welcomed("k", stock())
			for _, s := range steps {
				if s.from == "old@" && !h.member("chat-r", "old@far.example") {
					if err := h.e.AddMember(context.Background(), "sip:chat-r@x.org", "sip:old@far.example",
						""); err != nil && s.body != "#join" {
						t.Fatal(err) // operators may
					}
					if s.body == "#join" {
						_ = h.e.RemoveMember(context.Background(), "sip:chat-r@x.org", "sip:old@far.example")
					}
					h.quiet()
				}
				h.relay.take()
				var a evapi.Answer
				if user, abroad := strings.CutSuffix(s.from, "@"); abroad {
					a = h.abroad(user, "chat-r", s.body)
				} else {
					a = h.byRule(s.from, "chat-r@x.org", s.body)
				}
				heard := strings.Join(h.heard(), "\n")
				if a.Code != s.code || (heard == "") != (s.heard == "") || !strings.Contains(heard, s.heard) {
					t.Errorf("%s %s: %d %q, want %d; heard %q, want %q", s.from, s.body, a.Code, a.Reason, s.code, heard, s.heard)
				}
			}
		})
	}
}

func (h *house) member(room, user string) bool {
	is, err := h.e.RoomMember(context.Background(), "sip:"+room+"@x.org", "sip:"+user)
	return err == nil && is
}

// A From of the request URI's domain is no stranger, whatever Kamailio says; nor is
// anybody where it says nothing.
func TestNotForeign(t *testing.T) {
	h := newHouse(t, nil)
	m := h.request("alice", "chat-r@x.org", "#create")
	m.Foreign = true
	h.want(<-h.send(m), 200, 1)
	h.want(<-h.send(h.request("<sip:m@far.example>", "chat-r@x.org", "#join")), 200, 1)
	h.quiet()
}

// What is no address of a user does not get into a room's notices.
func TestNewcomers(t *testing.T) {
	for _, c := range []struct {
		user string
		ok   bool
	}{
		{"bob", true}, {"anna.b-2", true}, {"+49891234", true}, {"49_89", true}, {"sip:bob@x.org", true},
		{"bob@y.org", true}, {"bob@far.example", true},
		{"bob@192.0.2.1", true}, {"bob@[2001:db8::1]", true},
		{"Call.+49900123456.now!", false}, {"Call+49900", false}, {"a!b", false}, {"a~b", false}, {"a*b", false},
		{"o'brien", false}, {"(x)", false}, {"a&b", false},
		{"a=b", false}, {"a,b", false}, {"a;b", false}, {"a?b", false}, {"a/b", false}, {"a$b", false},
		{"%62ob", false}, {"a%20b", false}, {"+", false},
		{"bob@win_a_prize.example", false}, {"bob@prize", false}, {"bob@-x.example", false},
		{"bob@a..example", false}, {"bob@1.2", false},
		{"chat-other", false}, {"chat-r", false}, {"chat-r@y.org", false}, {"CHAT-R", false}, {"chat-manager", false},
		{"chat-r@far.example", true}, // a room of another server, for all that is known
	} {
		for _, command := range []string{"#add ", "#invite "} {
			h := newHouse(t, nil)
			h.e.Welcomed("k", stock())
			h.want(h.byRule("alice", "chat-r@x.org", "#create"), 200, 1)
			h.relay.take()
			a := h.byRule("alice", "chat-r@x.org", command+c.user)
			if (a.Code == 200) != c.ok || !c.ok && a.Code != 400 {
				t.Errorf("%s%s: %d %q", command, c.user, a.Code, a.Reason)
			}
			heard := h.heard()
			if !c.ok && (len(heard) != 1 || !strings.HasPrefix(heard[0], "alice<")) {
				t.Errorf("%s%s: heard %q", command, c.user, heard)
			}
		}
	}
}

// Who really has such a name can be added, once it is known: by a message or by having
// registered. An operator may add anybody but a room.
func TestNewcomersThatAreKnown(t *testing.T) {
	h := newHouse(t, nil)
	h.e.Welcomed("k", stock())
	h.want(h.byRule("alice", "chat-r@x.org", "#create"), 200, 1)
	h.want(h.byRule("alice", "chat-r@x.org", "#add o'brien"), 400, -50)
	h.want(h.byRule("o'brien", "chat-r@x.org", "hello"), 403, -202)
	h.want(h.byRule("alice", "chat-r@x.org", "#add O'Brien"), 200, 1)
	h.e.Registered("sip:a!b@x.org")
	h.want(h.byRule("alice", "chat-r@x.org", "#add a!b"), 200, 1)
	h.abroad("c!d", "chat-r", "hello")
	h.want(h.byRule("alice", "chat-r@x.org", "#add c!d@far.example"), 400, -50)
	if err := h.e.AddMember(context.Background(), "sip:chat-r@x.org", "sip:e!f@x.org", ""); err != nil {
		t.Error(err)
	}
	h.want(h.byRule("alice", "chat-r@x.org", "#remove e!f"), 200, 1)
	if err := h.e.AddMember(context.Background(), "sip:chat-r@x.org", "sip:chat-other@x.org", ""); err == nil {
		t.Error("a room is a member")
	}
	h.quiet()
}

// An expression that takes everything says nothing about who is a user.
func TestNewcomersWhereAllAreRooms(t *testing.T) {
	h := newHouse(t, nil)
	h.e.Welcomed("k", evapi.Welcome{Rooms: &evapi.RoomRule{Expression: "."}, Domains: []string{"x.org"}})
	h.want(h.byRule("alice", "r@x.org", "#create"), 200, 1)
	h.want(h.byRule("alice", "r@x.org", "#add bob"), 200, 1)
}

func TestUsersAreBounded(t *testing.T) {
	u := newUsers(3)
	for i := range 10 {
		n := store.Name{User: fmt.Sprintf("u%d", i), Host: "x.org"}
		u.met(n.Key())
		u.met(n.Key())
		if !u.known(n) || len(u.seen) > 3 {
			t.Errorf("%v known %v, %d remembered", n, u.known(n), len(u.seen))
		}
	}
	if u.known(store.Name{User: "u99", Host: "x.org"}) {
		t.Error("who was never met is known")
	}
}

// A name of which nobody knows that it is a user's is not said to the room, neither when
// it is added nor later: not before there is a sign of such a user.
func TestUnheardOf(t *testing.T) {
	const words = "call.49900.now.for.your.prize"
	start := func(t *testing.T) *house {
		h := newHouse(t, nil)
		h.e.Welcomed("k", stock())
		h.want(h.byRule("alice", "chat-r@x.org", "#create"), 200, 1)
		h.want(h.byRule("bob", "chat-r@x.org", "#join"), 200, 1)
		h.relay.take()
		return h
	}
	said := func(h *house, user string) bool {
		return slices.ContainsFunc(h.heard(), func(line string) bool {
			return strings.HasPrefix(line, "bob<") && strings.Contains(line, user)
		})
	}
	for _, name := range []string{words, "bob@Call-49900.example"} {
		h := start(t)
		user, _, _ := strings.Cut(name, "@")
		h.relay.set(func() { h.relay.codes[user] = result(404) })
		for _, body := range []string{"#add " + name, "#modify " + name + " admin", "#remove " + name,
			"#add " + name, "#invite x-" + name} {
			if h.byRule("alice", "chat-r@x.org", body); said(h, name) {
				t.Errorf("bob heard of %s", name)
			}
		}
	}
	t.Run("registered", func(t *testing.T) {
		h := start(t)
		h.e.Registered("sip:" + words + "@x.org")
		if h.byRule("alice", "chat-r@x.org", "#add "+words); !said(h, words) {
			t.Error("bob did not hear of somebody who has registered")
		}
	})
	t.Run("reached", func(t *testing.T) { // the greeting has arrived
		h := start(t)
		if h.byRule("alice", "chat-r@x.org", "#add "+words); !said(h, words) {
			t.Error("bob did not hear of somebody who is there")
		}
	})
	t.Run("speaks", func(t *testing.T) {
		h := start(t)
		h.relay.set(func() { h.relay.codes[words] = result(404) })
		if h.byRule("alice", "chat-r@x.org", "#add "+words); said(h, words) {
			t.Error("bob heard of somebody who is not there")
		}
		h.byRule(words, "chat-r@x.org", "hello")
		if !said(h, words+" has joined") {
			t.Error("bob did not hear of somebody who writes")
		}
		h.byRule(words, "chat-r@x.org", "hello")
		if said(h, words+" has joined") {
			t.Error("twice")
		}
	})
	t.Run("names", func(t *testing.T) {
		h := start(t)
		h.relay.set(func() { h.relay.codes["anna.miller"] = result(404) })
		if h.byRule("alice", "chat-r@x.org", "#add anna.miller"); !said(h, "anna.miller") {
			t.Error("bob did not hear of anna.miller")
		}
	})
}
