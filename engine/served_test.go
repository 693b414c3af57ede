package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"imcd/evapi"
)

// stock is what a Kamailio with imc.cfg's defaults says.
func stock() evapi.Welcome {
	return evapi.Welcome{Rooms: &evapi.RoomRule{Expression: "^chat-.+$", Prefix: "chat-"},
		Domains: []string{"x.org", "y.org", "::1"}}
}

// byRule says a text to a room that Kamailio took for one by IMC_ROOM.
func (h *house) byRule(from, room, body string) evapi.Answer {
	h.t.Helper()
	m := h.request(from, room, body)
	m.ByRule = true
	a := <-h.send(m)
	h.quiet()
	return a
}

func (h *house) rooms() []string {
	h.t.Helper()
	infos, err := h.e.Rooms(context.Background())
	if err != nil {
		h.t.Fatal(err)
	}
	var names []string
	for _, r := range infos {
		names = append(names, strings.TrimPrefix(r.Room, "sip:"))
	}
	return names
}

// A room that could not be written to is not made; a name without the prefix gets it.
func TestRoomNames(t *testing.T) {
	numbers := stock()
	numbers.Rooms = &evapi.RoomRule{Expression: `^room[0-9]+$`}
	unreadable := stock()
	unreadable.Rooms = &evapi.RoomRule{Expression: `^\bchat\w+$`, Prefix: "chat-"}
	long := strings.Repeat("n", 60)
	for _, c := range []struct {
		name    string
		welcome evapi.Welcome
		body    string
		code    int
		room    string // that there is then; empty: none
		why     string // part of the reason
	}{
		{"prefix is added", stock(), "#create garden", 200, "chat-garden@x.org", ""},
		{"to boss as well", stock(), "#create boss private", 200, "chat-boss@x.org", ""},
		{"not twice", stock(), "#create Chat-Garden", 200, "Chat-Garden@x.org", ""},
		{"join makes it, too", stock(), "#join garden", 200, "chat-garden@x.org", ""},
		{"the request URI", stock(), "#create", 200, "chat-m@x.org", ""},
		{"the request URI, in words", stock(), "#create chat-m@X.ORG", 200, "chat-m@X.ORG", ""},
		{"another own domain", stock(), "#create chat-garden@Y.org", 200, "chat-garden@Y.org", ""},
		{"an own address", stock(), "#create chat-garden@[::1]", 200, "chat-garden@[::1]", ""},
		{"another's domain", stock(), "#create chat-ceo@bank.example", 400, "", "not of this server"},
		{"another's domain by join", stock(), "#join chat-ceo@bank.example", 400, "", "not of this server"},
		{"another's user", stock(), "#create ceo@bank.example", 400, "", "not of this server"},
		{"a user, with a domain", stock(), "#create boss@x.org", 400, "", "must begin with chat-"},
		{"a user, with a scheme", stock(), "#join sip:boss", 400, "", "must begin with chat-"},
		{"no room with the prefix", stock(), "#create " + long, 400, "", "must begin with chat-"},
		{"no prefix", numbers, "#create boss", 400, "", "must match ^room[0-9]+$"},
		{"no prefix, a room", numbers, "#create Room7", 200, "Room7@x.org", ""},
		{"rule that is not known", unreadable, "#create boss", 200, "boss@x.org", ""},
		{"older include", evapi.Welcome{}, "#create boss", 200, "boss@x.org", ""},
		{"older include, domain", evapi.Welcome{}, "#create boss@bank.example", 200, "boss@bank.example", ""},
		{"any domain", evapi.Welcome{Rooms: stock().Rooms, AnyDomain: true},
			"#create chat-a@b.example", 200, "chat-a@b.example", ""},
		{"no user", stock(), `#create a"b`, 400, "", "Bad room"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t, nil)
			h.e.Welcomed("k", c.welcome)
			a := h.byRule("mallory", "chat-m@x.org", c.body)
			if a.Code != c.code || !strings.Contains(a.Reason, c.why) {
				t.Errorf("answer %d %q, want %d %q", a.Code, a.Reason, c.code, c.why)
			}
			if rooms := h.rooms(); c.room == "" && len(rooms) > 0 || c.room != "" && !slices.Equal(rooms, []string{c.room}) {
				t.Errorf("rooms %q, want %q", rooms, c.room)
			}
			if c.code == 400 {
				h.wantHeard(c.why)
			}
		})
	}
}

// Every command finds a room by its name without the prefix.
func TestRoomNamesInCommands(t *testing.T) {
	h := newHouse(t, nil)
	h.e.Welcomed("k", stock())
	const to = "chat-manager@x.org"
	for _, step := range []struct {
		from, body string
		code       int
	}{
		{"alice", "#create garden", 200}, {"bob", "#join garden", 200}, {"alice", "#list garden", 200},
		{"alice", "#add carol garden", 200},
		{"alice", "#modify carol admin garden", 200}, {"carol", "#invite dave garden", 200},
		{"dave", "#accept garden", 200},
		{"alice", "#invite eve garden", 200}, {"eve", "#deny garden", 200}, {"carol", "#remove dave garden", 200},
		{"bob", "#leave garden", 200}, {"alice", "#list shed", 404}, {"alice", "#list shed@x.org", 404},
		{"alice", "#destroy garden", 200},
	} {
		if a := h.byRule(step.from, to, step.body); a.Code != step.code {
			t.Errorf("%s %s: %d %q", step.from, step.body, a.Code, a.Reason)
		}
	}
	if rooms := h.rooms(); len(rooms) > 0 {
		t.Errorf("rooms %q", rooms)
	}
}

// Where the operator's script decides what is a room, imcd does not; the domain must be
// an own one all the same. Operators make what they want.
func TestRoomNamesOfScripts(t *testing.T) {
	h := newHouse(t, nil)
	h.e.Welcomed("k", evapi.Welcome{Rooms: &evapi.RoomRule{Expression: "^$", Prefix: "chat-"},
		Domains: []string{"x.org"}})
	h.want(h.say("alice", "manager", "#create garden"), 200, 1)
	h.want(h.say("alice", "manager", "#create ceo@bank.example"), 400, -30)
	if err := h.e.CreateRoom(context.Background(), "sip:any@elsewhere.example", false, ""); err != nil {
		t.Error(err)
	}
	if rooms := h.rooms(); !slices.Equal(rooms, []string{"any@elsewhere.example", "garden@x.org"}) {
		t.Errorf("rooms %q", rooms)
	}
}

// Rooms of several Kamailios: what one of them hands over is a room.
func TestRoomNamesOfSeveral(t *testing.T) {
	h := newHouse(t, nil)
	other := evapi.Welcome{Rooms: &evapi.RoomRule{Expression: "^(talk|chat)-", Prefix: "talk-"},
		Domains: []string{"z.org"}}
	h.e.Welcomed("k1", stock())
	h.e.Welcomed("k2", other)
	h.want(h.byRule("alice", "chat-m@x.org", "#create talk-a@z.org"), 200, 1)
	h.want(h.byRule("alice", "chat-m@x.org", "#create b"), 200, 1)
	h.want(h.byRule("alice", "chat-m@x.org", "#create boss@z.org"), 400, -30)
	h.e.Welcomed("k2", evapi.Welcome{}) // another imc.cfg now, which says nothing
	h.want(h.byRule("alice", "chat-m@x.org", "#create boss@z.org"), 200, 1)
	if rooms := h.rooms(); len(rooms) != 3 {
		t.Errorf("rooms %q", rooms)
	}
}

// What may be read in another way than the C library does is not read.
func TestCompileRule(t *testing.T) {
	for _, c := range []struct {
		expr     string
		yes, not []string
	}{
		{"^chat-.+$", []string{"chat-a", "CHAT-A"}, []string{"chat-", "xchat-a"}},
		{`^(room|\+49)[0-9]{2,4}$`, []string{"room12", "+491234"}, []string{"room1", "room12345"}},
		{"^[[:alpha:]_-]+$", []string{"a-b_C"}, []string{"a1"}},
		{"^[]a]+$", []string{"]a"}, []string{"b"}},
		{"^[^a-f]+$", []string{"xyz"}, []string{"xA"}},
		{"chat", []string{"mychats"}, []string{"cat"}},
		{"", []string{"", "x"}, nil},
	} {
		re, err := compileRule(c.expr)
		if err != nil {
			t.Errorf("%q: %v", c.expr, err)
			continue
		}
		for _, s := range c.yes {
			if !re.MatchString(s) {
				t.Errorf("%q does not match %q", c.expr, s)
			}
		}
		for _, s := range c.not {
			if re.MatchString(s) {
				t.Errorf("%q matches %q", c.expr, s)
			}
		}
	}
	for _, expr := range []string{`\w+`, `\bchat`, `[\d]`, `[a\]b]`, `a{,3}`, `a{`, `{2}`, `a{1000}`, "*a",
		"(*a)", "a|+b", "^*a", "$+", `(a)\1`, "[a", "a(", "[[.a.]]",
		"[[=a=]]", "[[:word:]]", "a\x80", "chat-ä", `a\`, "(?i)a", `\<a\>`, "[z-a]"} {
		if _, err := compileRule(expr); err == nil {
			t.Errorf("%q is taken", expr)
		}
	}
	if _, err := compileRule(`\w`); !errors.Is(err, errRule) {
		t.Errorf("%v", err)
	}
}

func FuzzCompileRule(f *testing.F) {
	for _, s := range []string{"^chat-.+$", "[[:alpha:]]{2,3}", `\(a|b\)*`, "[]-a]"} {
		f.Add(s)
	}
	f.Fuzz(func(_ *testing.T, expr string) {
		if re, err := compileRule(expr); err == nil {
			re.MatchString("chat-a")
		}
	})
}
