package engine

import (
	"strings"
	"testing"
	"unicode/utf8"

	"imcd/engine/store"
)

// named is a From with a display name.
func named(display, user string) string { return `"` + display + `" <sip:` + user + "@x.org>" }

func TestShowNames(t *testing.T) {
	for how, want := range map[string][3]string{ // prefix, list, leaving
		ShowUser:    {"[bob]: hi", "3 members: *alice (owner), bob, carol", "*** bob has left"},
		ShowDisplay: {"[Bob B.]: hi", "3 members: *Alice (owner), Bob B., carol", "*** Bob B. has left"},
		ShowBoth:    {"[Bob B. (bob)]: hi", "3 members: *alice (owner), Bob B. (bob), carol", "*** Bob B. (bob) has left"},
	} {
		h := newHouse(t, func(c *Config) { c.ShowNames = how })
		list := strings.ReplaceAll(want[1], "*alice", "*Alice")
		if how != ShowDisplay {
			list = want[1]
		}
		runSteps(t, h, []step{
			{named("ALICE", "alice"), "r", "#create", 200, 1, []string{"alice<r: "}},
			{named("Bob B.", "bob"), "r", "#join", 200, 1,
				[]string{"alice<r: *** " + strings.TrimSuffix(strings.TrimPrefix(want[2], "*** "), " has left") + " has joined",
					"bob<r: "}},
			{"carol", "r", "#join", 200, 1, []string{"alice<r: *** carol has", "bob<r: *** carol has", "carol<"}},
			{named("Bob B.", "bob"), "r", "hi", 200, 1, []string{"alice<r: " + want[0], "carol<r: " + want[0]}},
			{"carol", "r", "#list", 200, 1, []string{"carol<r: " + strings.ReplaceAll(list, "*Alice", "*alice")}},
			{named("Bob B.", "bob"), "r", "#leave", 200, 1,
				[]string{"alice<r: " + want[2], "bob<r: *** You have left", "carol<r: " + want[2]}},
		})
	}
}

// A name that could be taken for another's is shown with the user part.
func TestNamesOfOthers(t *testing.T) {
	for display, want := range map[string]string{
		"Bob B.": "Bob B.", "Robert 😀": "Robert 😀", "Bob": "bob", "BOB": "bob", "": "bob", "  ": "bob",
		"Åse-Marie O'Neil": "Åse-Marie O'Neil",
		"alice":            "alice (bob)", "Alice": "Alice (bob)", "A L I C E": "A L I C E (bob)", "Аlicе": "Аlicе (bob)",
		"a1ice": "a1ice (bob)",
		"ａｌｉｃｅ": "ａｌｉｃｅ (bob)", "alicé": "alicé (bob)", "al\u200bice": "alice (bob)", "*alice": "alice (bob)",
		"Carol C":  "Carol C (bob)",
		"Operator": "Operator (bob)", "R": "R (bob)", "chef@x.org": "chef@x.org (bob)", "Bob (owner)": "Bob owner",
		"x]: hi [alice": "x hi alice", "Bob, *Eve (owner)": "Bob Eve owner", "***": "bob", "\u202ebob": "bob",
		strings.Repeat("é", 60): strings.Repeat("é", maxShown), "d": "d (bob)",
	} {
		h := newHouse(t, func(c *Config) { c.ShowNames = ShowDisplay })
		h.say("alice", "r", "#create")
		h.say(named("Carol C.", "carol"), "r", "#join")
		h.say("d@y.org", "r", "#join")
		h.say("alice", "r", "#add d@y.org")
		h.say("bob", "r", "#join")
		h.heard()
		h.say(named(display, "bob"), "r", "hi")
		if heard := h.heard(); !strings.HasPrefix(heard[0], "alice<r: ["+want+"]: hi") {
			t.Errorf("%q is shown as %q, want %q", display, heard[0], want)
		}
		h.say(named("Bob 2", "carol"), "r", "#list")
		h.heard()
	}
}

// What others have is seen at once, and forgotten with them.
func TestNamesChange(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.ShowNames, c.MessageFormat = ShowDisplay, "{display}: {body}" })
	h.say("alice", "r", "#create")
	h.say("bob", "r", "#join")
	h.say("carol", "r", "#join")
	h.heard()
	runSteps(t, h, []step{
		{named("Max", "bob"), "r", "1", 200, 1, []string{"alice<r: Max: 1", "carol<r: Max: 1"}},
		{named("MAX", "carol"), "r", "2", 200, 1, []string{"alice<r: MAX (carol): 2", "bob<r: MAX (carol): 2"}},
		{named("Max", "bob"), "r", "3", 200, 1, []string{"alice<r: Max (bob): 3", "carol<r: Max (bob): 3"}},
		{"carol", "r", "4", 200, 1, []string{"alice<r: carol: 4", "bob<r: carol: 4"}},
		{named("Max", "bob"), "r", "5", 200, 1, []string{"alice<r: Max: 5", "carol<r: Max: 5"}},
		{named("Max", "bob"), "r", "#leave", 200, 1, []string{"alice<", "bob<", "carol<"}},
		{named("Max", "carol"), "r", "6", 200, 1, []string{"alice<r: Max: 6"}},
	})
	n, err := ask(t.Context(), h.e, "sip:r@x.org", func(r *room) int { return len(r.names) })
	if err != nil || n != 1 {
		t.Errorf("%d names are kept, %v", n, err)
	}
}

// A room keeps no more than maxNames names, and none if nobody is shown any.
func TestNamesAreBounded(t *testing.T) {
	r := newRoom(store.Name{User: "r", Host: "x.org"}, 1)
	for i := range maxNames + 10 {
		r.noteName(newMember(store.Name{User: "u" + strings.Repeat("x", i%50) + string(rune('a'+i%26)) + strings.Repeat("y",
			i/50%60), Host: "x.org"}, 0), "Some Body")
		if len(r.names) > maxNames {
			t.Fatalf("%d names", len(r.names))
		}
	}
	h := newHouse(t, nil)
	h.say(named("Al", "alice"), "r", "#create")
	if n, err := ask(t.Context(), h.e, "sip:r@x.org", func(r *room) int { return len(r.names) }); err != nil || n != 0 {
		t.Errorf("%d names are kept, %v", n, err)
	}
}

// FuzzNames: whatever the display name, what is shown is short and has nothing in it that
// could be taken for what stands around names; and the two ways to fold agree.
func FuzzNames(f *testing.F) {
	f.Add("Bob]: x\n[alice", "bob")
	f.Add("*~,()ALICE1l0", "a1ic-e")
	f.Fuzz(func(t *testing.T, display, user string) {
		n := newShownName(display, store.Name{User: "someone", Host: "x.org"})
		if strings.ContainsAny(n.name, "[](){}<>*~,:;\"\r\n\u2028") || strings.ContainsFunc(n.name, invisible) ||
			utf8.RuneCountInString(n.name) > maxShown || !utf8.ValidString(n.name) || strings.TrimSpace(n.name) != n.name {
			t.Fatalf("%q is shown as %q", display, n.name)
		}
		if validUser(user) && folds(user, foldName(user)) == false {
			t.Fatalf("%q folds to %q", user, foldName(user))
		}
	})
}
