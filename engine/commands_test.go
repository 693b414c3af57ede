package engine

import (
	"strings"
	"testing"
)

// step is one request and what must come of it.
type step struct {
	from, room, body string
	code, rc         int
	heard            []string // prefixes "user<room: text", see house.heard
}

func runSteps(t *testing.T, h *house, steps []step) {
	t.Helper()
	for i, s := range steps {
		a := h.say(s.from, s.room, s.body)
		if a.Code != s.code || a.RC != s.rc {
			t.Errorf("step %d: %s to %s: %q: answered %d %q rc %d, want %d rc %d",
				i, s.from, s.room, s.body, a.Code, a.Reason, a.RC, s.code, s.rc)
		}
		heard := h.heard()
		ok := len(heard) == len(s.heard)
		for k := range s.heard {
			ok = ok && strings.HasPrefix(heard[k], s.heard[k])
		}
		if !ok {
			t.Errorf("step %d: %s to %s: %q: heard\n  %s\nwant\n  %s", i, s.from, s.room, s.body,
				strings.Join(heard, "\n  "), strings.Join(s.heard, "\n  "))
		}
	}
}

func TestConversation(t *testing.T) {
	h := newHouse(t, nil)
	runSteps(t, h, []step{
		{"alice", "chat-1", "#create", 200, 1, []string{"alice<chat-1: *** Room chat-1 created"}},
		{"bob", "chat-1", "hello", 403, -202, []string{"bob<chat-1: *** You are not in room chat-1"}},
		{"bob", "CHAT-1", "#Join", 200, 1, []string{"alice<chat-1: *** bob has joined the room.",
			"bob<chat-1: *** You are in chat-1 now (2 members). #help lists"}},
		{"bob", "chat-1", "hello", 200, 1, []string{"alice<chat-1: [bob]: hello"}},
		{"Bob", "chat-1", "#join", 200, 1, []string{"Bob<chat-1: *** You are in room"}},
		{"alice", "chat-1", "hi", 200, 1, []string{"bob<chat-1: [alice]: hi"}},
		{"carol", "chat-1", "#create chat-2 private", 200, 1, []string{"carol<chat-2: *** Private room chat-2 created"}},
		{"bob", "chat-2", "#join", 403, -42, []string{"bob<chat-2: *** Room chat-2 is private",
			"carol<chat-2: *** bob wanted to join"}},
		{"carol", "chat-2", "#invite sip:bob@x.org", 200, 1,
			[]string{"bob<chat-2: *** carol invites you to room chat-2", "carol<chat-2: *** bob has been invited"}},
		{"bob", "chat-2", "psst", 403, -202, []string{"bob<chat-2: *** You are invited"}},
		{"carol", "chat-2", "#invite bob", 403, -54, []string{"carol<chat-2: *** bob is invited already"}},
		{"bob", "chat-2", "#accept", 200, 1, []string{"bob<chat-2: *** You are in chat-2 now (2",
			"carol<chat-2: *** bob has joined"}},
		{"bob", "chat-2", "#accept", 403, -62, []string{"bob<chat-2: *** You have no invitation"}},
		{"bob", "chat-2", "#list", 200, 1, []string{"bob<chat-2: 2 members: *carol (owner), bob"}},
		{"bob", "chat-2", "#invite dave", 403, -52, []string{"bob<chat-2: *** Only an owner or admin"}},
		{"carol", "chat-2", "#modify bob admin", 200, 1,
			[]string{"bob<chat-2: *** bob is now admin", "carol<chat-2: *** bob is now admin"}},
		{"bob", "chat-2", "#modify bob owner", 403, -122, []string{"bob<chat-2: *** Only an owner"}},
		{"bob", "chat-2", "#modify carol member", 403, -122, []string{"bob<chat-2: *** Only an owner"}},
		{"bob", "chat-2", "#add dave", 200, 1, []string{"bob<chat-2: *** dave has joined", "carol<chat-2: *** dave",
			"dave<chat-2: *** bob has added you to chat-2 (3 members)."}},
		{"bob", "chat-2", "#members", 200, 1, []string{"bob<chat-2: 3 members: *carol (owner), ~bob (admin), dave"}},
		{"bob", "chat-2", "#remove carol", 403, -85, []string{"bob<chat-2: *** carol owns room chat-2"}},
		{"bob", "chat-2", "#remove dave", 200, 1,
			[]string{"bob<chat-2: *** dave was removed", "carol<chat-2: *** dave was removed",
				"dave<chat-2: *** You were removed"}},
		{"bob", "chat-2", "#remove dave", 404, -83, []string{"bob<chat-2: *** dave is not in"}},
		{"dave", "chat-1", "#rooms", 200, 1, []string{"dave<chat-1: 1 room: chat-1"}},
		{"bob", "chat-1", "#rooms", 200, 1, []string{"bob<chat-1: 2 rooms: chat-1 (joined), chat-2 (private)"}},
		{"bob", "chat-1", "#leave", 200, 1, []string{"alice<chat-1: *** bob has left",
			"bob<chat-1: *** You have left room chat-1."}},
		{"alice", "chat-1", "#exit", 200, 1, []string{"alice<chat-1: *** Room chat-1 was destroyed"}},
		{"alice", "chat-1", "#list", 404, -101, []string{"alice<chat-1: *** There is no room chat-1"}},
		{"bob", "chat-2", "#destroy", 403, -112, []string{"bob<chat-2: *** Only an owner"}},
		{"carol", "chat-1", "#destroy chat-2", 200, 1,
			[]string{"bob<chat-2: *** Room chat-2 was destroyed by carol", "carol<chat-2: *** Room chat-2"}},
		{"carol", "chat-2", "hello?", 404, -201, []string{"carol<chat-2: *** There is no room chat-2"}},
	})
	if d := h.store.dump(); d != "" {
		t.Errorf("still stored:\n%s", d)
	}
}

func TestInvitations(t *testing.T) {
	h := newHouse(t, nil)
	h.relay.codes["ghost"] = result(603)
	h.relay.codes["mute"] = result(488)
	runSteps(t, h, []step{
		{"alice", "r", "#create private", 200, 1, []string{"alice<r: *** Private room r"}},
		{"alice", "r", "#invite ghost", 200, 1, []string{"alice<r: *** ghost has been invited",
			"alice<r: *** ghost does not take", "ghost<r: *** alice invites"}},
		{"ghost", "r", "#accept", 403, -62, []string{"ghost<r: *** You have no"}},
		{"alice", "r", "#invite mute", 200, 1, []string{"alice<r: *** mute has been", "alice<r: *** mute does not take",
			"mute<r: *** alice invites"}},
		{"alice", "r", "#invite bob", 200, 1, []string{"alice<r: *** bob has", "bob<r: *** alice invites"}},
		{"bob", "r", "#deny", 200, 1, []string{"alice<r: *** bob declined", "bob<r: *** You declined"}},
		{"bob", "r", "#reject", 403, -72, []string{"bob<r: *** You have no invitation"}},
		{"alice", "r", "#invite bob", 200, 1, []string{"alice<r: *** bob has", "bob<r: *** alice invites"}},
		{"bob", "r", "#join", 200, 1, []string{"alice<r: *** bob has joined", "bob<r: *** You are in r now"}},
		{"alice", "r", "#invite bob", 403, -54, []string{"alice<r: *** bob is in the room already"}},
		{"alice", "r", "#invite", 400, -50, []string{"alice<r: *** Argument missing. Usage: #invite user [room]"}},
		{"alice", "r", "#invite bob@", 400, -50, []string{"alice<r: *** Bad user 'bob@'"}},
		{"alice", "r", "#invite bob nowhere", 404, -51, []string{"alice<r: *** There is no room nowhere"}},
	})
}

func TestBadInput(t *testing.T) {
	h := newHouse(t, nil)
	long := strings.Repeat("x", 65)
	runSteps(t, h, []step{
		{"alice", "r", "#", 400, -20, []string{"alice<r: *** That is no command"}},
		{"alice", "r", "# join", 400, -20, []string{"alice<r: *** That is no command: write #join, without a space."}},
		{"alice", "r", "#dance now", 400, -130, []string{"alice<r: *** Unknown command 'dance'"}},
		{"alice", "r", "", 400, -1, []string{"alice<r: *** The message was empty"}},
		{"alice", "r", "#create a b", 400, -30,
			[]string{"alice<r: *** The second argument can only be 'private'. Usage: #create [room] [private]"}},
		{"alice", "r", "#create a private b", 400, -30, []string{"alice<r: *** Too many arguments"}},
		{"alice", "r", "#create " + long, 400, -30, []string{"alice<r: *** Bad room"}},
		{"alice", "r", "#create " + long[:60], 400, -30, []string{"alice<r: *** room name is too long"}},
		{"alice", "r", "#create r<>", 400, -30, []string{"alice<r: *** Bad room"}},
		{"alice", "r", "#create r\"r", 400, -30, []string{"alice<r: *** Bad room"}},
		{"alice", "r", "#create", 200, 1, []string{"alice<r: *** Room r created"}},
		{"alice", "r", "#modify alice king", 400, -120, []string{"alice<r: *** 'king' is no role"}},
		{"alice", "r", "#modify alice member", 403, -125, []string{"alice<r: *** alice is the only owner"}},
		{"alice", "r", "#modify bob admin", 404, -123, []string{"alice<r: *** bob is not in"}},
		{"alice", "r", "#add " + long, 400, -50, []string{"alice<r: *** Bad user"}},
		{"alice", "r", "#help", 200, 1, []string{"alice<r: Commands"}},
	})
	big := strings.Repeat("x", 40000)
	h.want(h.say("alice", "r", big), 413, -207)
	h.wantHeard("*** Your message is too long and went to nobody: it has 40000 characters, about 30")
	h.want(<-h.post("<sip:x.org>", "r@x.org", "hi"), 400, -1)
	h.want(<-h.post("<tel:+49301234>", "r@x.org", "hi"), 400, -1)
	h.want(<-h.post("alice", "x.org", "hi"), 400, -1)
	h.quiet()
	h.wantHeard()
}

func TestOwnerLeaves(t *testing.T) {
	for mode, steps := range map[string][]step{
		OwnerLeaveRefuse: {
			{"alice", "r", "#exit", 403, -95, []string{"alice<r: *** You own room r"}},
			{"alice", "r", "#modify bob owner", 200, 1, []string{"alice<r: *** bob is now owner", "bob<", "carol<"}},
			{"alice", "r", "#exit", 200, 1, []string{"alice<r: *** You have left", "bob<", "carol<"}},
		},
		OwnerLeaveTransfer: {
			{"alice", "r", "#modify carol admin", 200, 1, []string{"alice<", "bob<", "carol<"}},
			{"alice", "r", "#exit", 200, 1, []string{"alice<r: *** You have left",
				"bob<r: *** alice has left; carol is now the owner", "carol<"}},
			{"carol", "r", "#exit", 200, 1, []string{"bob<r: *** carol has left; bob", "carol<"}},
			{"bob", "r", "#exit", 200, 1, []string{"bob<r: *** Room r was destroyed"}},
		},
		OwnerLeaveDestroy: {
			{"alice", "r", "#exit", 200, 1, []string{"alice<r: *** Room r was destroyed", "bob<", "carol<"}},
			{"bob", "r", "hm", 404, -201, []string{"bob<r: *** There is no"}},
		},
	} {
		t.Run(mode, func(t *testing.T) {
			h := newHouse(t, func(c *Config) { c.OwnerLeave = mode })
			h.say("alice", "r", "#create")
			h.say("bob", "r", "#join")
			h.say("carol", "r", "#join")
			h.heard()
			runSteps(t, h, steps)
		})
	}
}

func TestParameters(t *testing.T) {
	h := newHouse(t, func(c *Config) {
		c.CreateOnJoin, c.CheckOnCreate, c.CmdStartChar, c.SuccessCode = false, true, "!", 202
		c.ExtraHeaders, c.MaxMembers = `X-Chat: yes\r\n`, 2
		c.Notices = map[string]string{"joined": "+ {user} in {room}"}
		c.MessageFormat = "<{user}> {body} </>"
	})
	runSteps(t, h, []step{
		{"alice", "r", "!join", 404, -41, []string{"alice<r: *** There is no room r"}},
		{"alice", "r", "!create", 202, 1, []string{"alice<r: *** Room r created. You are its owner; !help"}},
		{"bob", "r", "!create", 403, -34, []string{"bob<r: *** Room r exists"}},
		{"alice", "r", "!create", 403, -34, []string{"alice<r: *** Room r exists"}},
		{"bob", "r", "!join", 202, 1, []string{"alice<r: + bob in r", "bob<"}},
		{"carol", "r", "!join", 403, -46, []string{"carol<r: *** Room r is full"}},
		{"bob", "r", "#help", 202, 1, []string{"alice<r: <bob> #help </>"}},
	})
	h.say("bob", "r", "x")
	if c := h.relay.take(); len(c) != 1 || !strings.Contains(c[0].headers, "X-Chat: yes\r\n") {
		t.Errorf("extra header is missing: %+v", c)
	}
}

func TestContent(t *testing.T) {
	h := newCouple(t)
	for _, tc := range []struct{ from, ctype, body, wantFrom, wantBody string }{
		{"bob", "text/plain", "hi", "<sip:r@x.org>", "[bob]: hi"},
		{"bob", "text/plain;charset=utf-8", "gr\xc3\xbc\xc3\x9fe", "<sip:r@x.org>", "[bob]: grüße"},
		{"bob", "application/im-iscomposing+xml", "<x/>", `"bob" <sip:r@x.org>`, "<x/>"},
		{`"Bob" <sip:bob@x.org>`, "image/png", "\x89PNG\r\n\x00\x01", `"Bob" <sip:r@x.org>`, "\x89PNG\r\n\x00\x01"},
		{`"Bob \"B\" <x>" <sip:bob@x.org>`, "text/plain", "hi", `"Bob \"B\" <x>" <sip:r@x.org>`, "[bob]: hi"},
		{`Bob <sip:bob@x.org>`, "text/plain", "hi", `"Bob" <sip:r@x.org>`, "[bob]: hi"},
	} {
		if a := h.say(tc.from, "r", tc.body, "Content-Type: "+tc.ctype+"\r\n"); a.Code != 200 {
			t.Errorf("%q: answered %d %s", tc.body, a.Code, a.Reason)
		}
		c := h.relay.take()
		if len(c) != 1 || c[0].from != tc.wantFrom || c[0].body != tc.wantBody && !strings.ContainsRune(tc.body, 0x89) {
			t.Errorf("%s %q: alice gets %+v", tc.ctype, tc.body, c)
			continue
		}
		if !strings.Contains(c[0].headers, "Content-Type: "+tc.ctype+"\r\n") {
			t.Errorf("Content-Type %s became %q", tc.ctype, c[0].headers)
		}
	}
}

func TestLongListsAreSplit(t *testing.T) {
	h := newHouse(t, nil)
	h.say("alice", "r", "#create")
	for i := range 120 {
		h.say("alice", "r", "#add user"+strings.Repeat("0", i%20)+"-"+strings.Repeat("x", i/20))
	}
	h.heard()
	h.want(h.say("alice", "r", "#list"), 200, 1)
	var lines []string
	for i, c := range h.relay.take() {
		if len(c.body) > h.e.cfg.ListBytes || !strings.Contains(c.body, "("+string(rune('1'+i))+"/") {
			t.Errorf("part %d has %d bytes: %.40q", i, len(c.body), c.body)
		}
		_, items, _ := strings.Cut(c.body, ": ")
		lines = append(lines, strings.Split(items, ", ")...)
		if !strings.Contains(c.headers, "In-Reply-To: call-") {
			t.Errorf("part %d has no In-Reply-To: %q", i, c.headers)
		}
	}
	if len(lines) != 121 || lines[0] != "*alice (owner)" {
		t.Errorf("%d lines, first %q", len(lines), lines[0])
	}
}

// TestForbiddenCode: what is not allowed is answered as configured, all else as ever.
func TestForbiddenCode(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *Config) { c.ForbiddenCode = 603 })
	h.say("alice", "chat-1", "#create private")
	h.want(h.say("bob", "chat-1", "hello"), 603, -202)
	h.want(h.say("bob", "chat-1", "#join"), 603, -42)
	h.want(h.say("bob", "chat-2", "hello"), 404, -201)
}
