package engine

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"imcd/engine/store"
	"imcd/evapi"
)

// what a typed text is for the engine.
func (h *house) typed(body string) string {
	req := h.e.newRequest(h.request("bob", "r@x.org", body))
	switch {
	case req.refused != nil:
		return req.refused.notice
	case req.cmd != nil:
		return strings.Join(append([]string{req.cmd.names[0]}, req.args...), "|")
	}
	return "say " + string(req.body)
}

func TestTyped(t *testing.T) {
	h := newHouse(t, nil)
	for body, want := range map[string]string{
		// White space and what nobody sees.
		"#list": "list", "#LIST": "list", "#List": "list", " #list": "list", "\t\r\n\n #list ": "list", "#list\u00a0": "list",
		"\ufeff#list": "list", "\u200b#list": "list", "\u200f#list\u200f": "list", "\u202a#list\u202c": "list",
		"\u2067#list\u2069": "list", "\u3000#list\u3000": "list", "#\u200blist": "list", "#li\u00adst": "list",
		"\x00#list\x00": "list",
		"#\ufe0flist":   "list", "\u2060\u00a0\u061c#list\u180e": "list", "\u2800#list": "list", "\u3164#list": "list",
		"#list\u2028more": "list", "#list\r\n\r\n-- \r\nSent from my phone": "list", "#list\nbob": "list",
		"#invite\u00a0bob\u2003chat-a": "invite|bob|chat-a", "#invite \u200ebob\u200e": "invite|bob",
		"#invite bob\ufeff": "invite|bob",
		// Punctuation, quotes, dashes, full width.
		"#list.": "list", "#list!": "list", "#list?": "list", "#list,": "list", "#list;": "list", "#list:": "list",
		"#list...": "list",
		"#list…":   "list", "#list。": "list", "#help?!": "help", "#List. ": "list", "#invite: bob.": "invite|bob",
		"#invite bob, chat-a.": "invite|bob|chat-a", "#invite “bob”": "invite|bob", "#invite 'bob'": "invite|bob",
		"#invite «bob», „chat-a“.": "invite|bob|chat-a", "#invite ’bob’": "invite|bob", "#invite o’neil": "invite|o'neil",
		"#join chat–a": "join|chat-a", "#join chat‑a": "join|chat-a", "#join chat—a": "join|chat--a",
		"#join chat−a": "join|chat-a",
		"＃list":        "list", "＃ｌｉｓｔ": "list", "#add bob＠x.org": "add|bob@x.org", "#modify Bob Admin.": "modify|Bob|Admin",
		// Addresses as clients copy them.
		"#invite <sip:bob@x.org>":                       "invite|sip:bob@x.org",
		"#invite <sip:bob.@x.org>, chat-a":              "invite|sip:bob.@x.org|chat-a",
		"#invite \"Bob B.\" <sip:bob@x.org>":            "invite|sip:bob@x.org",
		"#invite “Bob B.” <sip:bob@x.org> chat-a":       "invite|sip:bob@x.org|chat-a",
		"#invite Bob B. <sip:bob@x.org>":                "invite|sip:bob@x.org",
		"#invite<sip:bob@x.org>":                        "invite|sip:bob@x.org",
		"#invite <bob> <chat-a>":                        "invite|bob|chat-a",
		"#invite \"Bob\"<sips:bob@x.org>;tag=1":         "invite|sips:bob@x.org",
		"#modify Bob <sip:bob@x.org> admin":             "modify|sip:bob@x.org|admin",
		"#modify bob admin <sip:chat-a@x.org>":          "modify|bob|admin|sip:chat-a@x.org",
		"#join <sip:chat-a@x.org;transport=tcp>":        "join|sip:chat-a@x.org;transport=tcp",
		"#create \"Garden\" <sip:chat-a@x.org> private": "create|sip:chat-a@x.org|private",
		// No commands.
		"##list": "say #list", "##": "say #", "###": "say ##", " ##x y\nz": "say #x y\nz", "＃＃x": "say ＃x",
		"#\u200b#x":  "say #x",
		"## heading": "say # heading", "#1 of all": "say #1 of all", "#-)": "say #-)", "#🍅": "say #🍅",
		"#️⃣ list":        "say #️⃣ list",
		"#\"; drop table": "say #\"; drop table", "\u200b#1": "say \u200b#1", "#\x01\x02": "say #\x01\x02",
		"#\xff": "say #\xff",
		"list":  "say list", "a #list": "say a #list", "“#list”": "say “#list”", "*#list": "say *#list",
		"\xef\xbb": "say \xef\xbb",
		// Commands that are none.
		"#": "bad_command", "# ": "bad_command", "# list": "bad_command", "#\u00a0list": "bad_command",
		"#\nlist": "bad_command",
		"#\u200b": "bad_command", "＃": "bad_command", "#hello everybody": "unknown_command", "#привет": "unknown_command",
		"#hashtag?": "unknown_command", "#日本": "unknown_command", "#lsit": "did_you_mean", "#Leav": "did_you_mean",
		"#join bob<>": "bad_arguments", "#join <>": "bad_arguments", "#join a\"b": "bad_arguments",
		"#invite":      "bad_arguments",
		"#invite sip:": "invite|sip:", "#invite .,!": "bad_arguments", "#create a b c": "bad_arguments",
	} {
		if got := h.typed(body); got != want {
			t.Errorf("%q is %q, want %q", body, got, want)
		}
	}
}

func TestTypedWithOtherStart(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.CmdStartChar = "/" })
	for body, want := range map[string]string{"/list": "list", "／list": "list", "//list": "say /list",
		"#list":  "say #list",
		"/ list": "bad_command", "/1": "say /1"} {
		if got := h.typed(body); got != want {
			t.Errorf("%q is %q, want %q", body, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	l := newLanguage()
	for word, want := range map[string]string{
		"leav": "leave", "jion": "join", "lsit": "list", "Lists": "list", "exti": "exit", "histroy": "history",
		"histrory": "history",
		"inviet":   "invite", "invitee": "invite", "creat": "create", "createroom": "create", "mem": "members",
		"membres": "members",
		"room":    "rooms", "hlp": "help", "helpme": "help", "distroi": "destroy", "acept": "accept", "acceptt": "accept",
		"dney": "deny",
		"quit": "leave", "PART": "leave", "who": "list", "kick": "remove",
		"hello": "", "hi": "", "x": "", "li": "", "hashtag": "", "привет": "", "monday": "", "food": "", "": "",
		strings.Repeat("list", 9): "",
	} {
		if got := l.nearest(word); got != want {
			t.Errorf("%q: did you mean %q? want %q", word, got, want)
		}
	}
	for _, c := range l.commands {
		for _, name := range c.names {
			if got := l.nearest(name); got != name {
				t.Errorf("%q is near %q", name, got)
			}
		}
	}
	for _, name := range otherWords() {
		if l.find(name) == nil {
			t.Errorf("%q is no command", name)
		}
	}
}

func TestUnknownCommands(t *testing.T) {
	h := newHouse(t, nil)
	runSteps(t, h, []step{
		{"alice", "r", "#create", 200, 1, []string{"alice<r: "}},
		{"bob", "r", "#join", 200, 1, []string{"alice<", "bob<"}},
		{"bob", "r", "#leav", 400, -130,
			[]string{"bob<r: *** Unknown command 'leav'. Did you mean #leave? To say it to the room, begin with ##."}},
		{"bob", "r", "#hello all", 400, -130,
			[]string{"bob<r: *** Unknown command 'hello'. Send #help for help. To say it to the room, begin with ##."}},
		{"bob", "r", "##hello all", 200, 1, []string{"alice<r: [bob]: #hello all"}},
		{"bob", "r", "#1 of all", 200, 1, []string{"alice<r: [bob]: #1 of all"}},
		{"eve", "r", "#1 of all", 403, -202, []string{"eve<r: *** You are not in"}},
		{"bob", "r", "#", 400, -20, []string{"bob<r: *** That is no command: the name must follow the # at once."}},
		{"bob", "r", "#create chat-\xff", 400, -30, []string{"bob<r: *** Bad room 'chat-�'"}},
	})
}

// FuzzTyped: whatever is typed, a command's words have nothing invisible in them, and
// what is said is what was typed but for one command character.
func FuzzTyped(f *testing.F) {
	for _, s := range []string{"#list", "##x", "\u200b#list.\u00a0", "#invite \"B\" <sip:b@x>, r", "# x", "#1", "＃＃",
		"#a<b>c<d>\"e\"<f>", "\xff#\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		kind, at := readOpening(text, '#')
		switch kind {
		case saidText:
			if at != 0 {
				t.Fatalf("%q: begins at %d", text, at)
			}
			return
		case escapedText:
			if r, _ := utf8.DecodeRuneInString(text[at:]); r != '#' && r != '＃' {
				t.Fatalf("%q: says %q", text, text[at:])
			}
			return
		}
		if r, _ := utf8.DecodeLastRuneInString(strings.TrimRightFunc(text[:at], invisible)); r != '#' && r != '＃' {
			t.Fatalf("%q: the command begins at %d", text, at)
		}
		words, first := splitLine(firstLine(text[at:]))
		if first >= len(words) {
			t.Fatalf("%q: %q has no word %d", text, words, first)
		}
		for i, w := range words {
			if w == "" || strings.ContainsFunc(w, invisible) || strings.ContainsAny(w, lineEnds) ||
				(first < 0 || i < first) && strings.ContainsFunc(w, unicode.IsSpace) && w[0] != '"' {
				t.Fatalf("%q: words %q", text, words)
			}
		}
		again, _ := splitLine(strings.Join(words, " "))
		if first < 0 && !strings.ContainsAny(text, "\"'<>") && !slices.Equal(words, again) {
			t.Fatalf("%q: words %q, then %q", text, words, again)
		}
	})
}

// A text in another charset that begins with ## is said in UTF-8, without one #.
func TestEscapedInOtherCharset(t *testing.T) {
	h := newCouple(t)
	h.want(h.say("bob", "r", "#\x00#\x00l\x00i\x00s\x00t\x00", "Content-Type: text/plain;charset=utf-16le\r\n"), 200, 1)
	h.wantHeard("alice<r: [bob]: #list")
	h.want(h.say("bob", "r", "#\x00l\x00i\x00s\x00t\x00.\x00", "Content-Type: text/plain;charset=utf-16le\r\n"), 200, 1)
	h.wantHeard("bob<r: 2 members: *alice (owner), bob")
}

// A room in angle brackets is no user with a display name before it.
func TestDisplayNameOrUser(t *testing.T) {
	s := &served{any: true}
	if err := s.add(&evapi.Welcome{AnyDomain: true,
		Rooms: &evapi.RoomRule{Expression: "^chat-.+$", Prefix: "chat-"}}); err != nil {
		t.Fatal(err)
	}
	invite := newLanguage().find("invite")
	for in, want := range map[string]string{
		"Bob <sip:bob@x.org>":        "sip:bob@x.org",
		"bob <sip:chat-a@x.org>":     "bob|sip:chat-a@x.org",
		"Bob B. <sip:bob@x.org> r":   "sip:bob@x.org|r",
		"bob@x.org <chat-a>":         "bob@x.org|chat-a",
		"<sip:bob@x.org> chat-a":     "sip:bob@x.org|chat-a",
		"\"Bob\" <sip:chat-a@x.org>": "sip:chat-a@x.org",
	} {
		words, at := splitLine(in)
		if got := strings.Join(invite.dropName(words, at, store.Name{User: "r", Host: "x.org"}, s), "|"); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}
