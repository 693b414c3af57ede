package engine

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestSplit(t *testing.T) {
	head := func(n, of int) string {
		if of == 1 {
			return "H:"
		}
		return fmt.Sprintf("H (%d/%d):", n, of)
	}
	for _, c := range []struct {
		items []string
		sep   string
		limit int
		want  string // parts with | between
	}{
		{nil, inLine, 200, "H:"},
		{[]string{"a"}, inLine, 200, "H: a"},
		{[]string{"a", "b"}, inLine, 200, "H: a, b"},
		{[]string{"a", "b"}, below, 200, "H:\na\nb"},
		{[]string{"aaaa", "bbbb", "cccc"}, inLine, 23, "H (1/3): aaaa|H (2/3): bbbb|H (3/3): cccc"},
		{[]string{"aaaa", "bb"}, inLine, 23, "H: aaaa, bb"},
		{[]string{"a", "ééééé", "b"}, below, 16, "H (1/5):\na|H (2/5):\néé|H (3/5):\néé|H (4/5):\né\nb"},
	} {
		got := strings.Join(split(c.items, c.sep, c.limit, head), "|")
		if want := strings.ReplaceAll(c.want, "/5)", "/4)"); got != want {
			t.Errorf("%q in %d: %q, want %q", c.items, c.limit, got, want)
		}
	}
}

// FuzzSplit: no part is over its limit or not UTF-8, and nothing is lost.
func FuzzSplit(f *testing.F) {
	f.Add("a,bb,ccc", 40)
	f.Add(strings.Repeat("é", 100), 30)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		if limit < 30 || limit > 1000 || len(text) > 5000 || !utf8.ValidString(text) || strings.Contains(text, "\n") {
			return
		}
		head := func(n, of int) string { return fmt.Sprintf("H (%02d/%02d):", n%100, of%100) }
		var all string
		for _, body := range split(strings.Split(text, ","), below, limit, head) {
			if len(body) > limit || !utf8.ValidString(body) {
				t.Fatalf("%d bytes: %q", len(body), body)
			}
			_, rest, _ := strings.Cut(body, "\n")
			all += strings.ReplaceAll(rest, "\n", "")
		}
		if all != strings.ReplaceAll(text, ",", "") {
			t.Fatalf("%q became %q", text, all)
		}
	})
}

func TestIndent(t *testing.T) {
	for _, c := range []struct{ format, text, want string }{
		{"[{user}]: {body}", "one line [x]", "one line [x]"},
		{"[{user}]: {body}", "one\ntwo", "one\ntwo"},
		{"[{user}]: {body}", "one\n[bob]: two\nthree", "one\n  [bob]: two\n  three"},
		{"[{user}]: {body}", "one\r\n[bob]: two\r\n\r\nthree\r\n", "one\r\n  [bob]: two\r\n\r\n  three\r\n"},
		{"[{user}]: {body}", "one\r[bob]: two", "one\r  [bob]: two"},
		{"[{user}]: {body}", "\n*** bob has left", "\n  *** bob has left"},
		{"[{user}]: {body}", "one\u2028[bob]: x\u2029y\u0085z\vq", "one\u2028  [bob]: x\u2029  y\u0085  z\v  q"},
		{"[{user}]: {body}", "one\n\u200b \u202e[bob]: x", "one\n  \u200b \u202e[bob]: x"},
		{"[{user}]: {body}", "one\n［bob]: x", "one\n  ［bob]: x"},
		{"[{user}]: {body}", "one\n\x00[bob]: x", "one\n  \x00[bob]: x"},
		{"[{user}]: {body}", "one\n** x", "one\n** x"},
		{"[{user}]: {body}", "one\n\n\n", "one\n\n\n"},
		{"[{user}]: {body}", "latin1 \xe9\n\x85\xe2\x80", "latin1 \xe9\n\x85\xe2\x80"},
		{"<{user}> {body}", "one\n<bob> x", "one\n  <bob> x"},
		{"{user}: {body}", "one\nbob: x\n", "one\n  bob: x\n"},
		{"{body}", "one\nbob: x", "one\nbob: x"},
	} {
		if got := string(newLineMarks(c.format).guard([]byte(c.text))); got != c.want {
			t.Errorf("%s: %q became %q, want %q", c.format, c.text, got, c.want)
		}
	}
}

// FuzzIndent: only spaces are added, and no following line begins like another's.
func FuzzIndent(f *testing.F) {
	f.Add([]byte("a\r\n[b]\u2028***\u0085\n\n"))
	marks := newLineMarks("[{user}]: {body}")
	f.Fuzz(func(t *testing.T, text []byte) {
		got := marks.guard(text)
		if !bytes.Equal(bytes.ReplaceAll(got, []byte(" "), nil), bytes.ReplaceAll(text, []byte(" "), nil)) {
			t.Fatalf("%q became %q", text, got)
		}
		for at := nextLine(got, 0); at < len(got); at = nextLine(got, at) {
			if line := got[at:]; bytes.HasPrefix(line, []byte("[")) || bytes.HasPrefix(line, []byte("***")) {
				t.Fatalf("%q became %q", text, got)
			}
		}
	})
}

func TestWhen(t *testing.T) {
	now := time.Date(2026, 11, 28, 14, 0, 0, 0, time.FixedZone("", 3600))
	for at, want := range map[time.Time]string{
		now.Add(-time.Hour):      "12:00",
		now.Add(-24 * time.Hour): "27 Nov 13:00",
		now.AddDate(-1, 0, 0):    "28 Nov 2025 13:00",
	} {
		if got := historyTime(at, now); got != want {
			t.Errorf("%v is %q, want %q", at, got, want)
		}
	}
}

func TestDescribe(t *testing.T) {
	h := newHouse(t, nil)
	for _, c := range []struct {
		contentType string
		bytes       int
		want        string
	}{
		{"image/jpeg", 12345, "(picture, 12 kB)"}, {"IMAGE/png;x=y", 999, "(picture, 999 bytes)"},
		{"audio/amr", 999_499, "(sound, 999 kB)"}, {"video/mp4", 1_250_000, "(video, 1.2 MB)"},
		{"application/vnd.gsma.rcs-ft-http+xml", 1000, "(file, 1 kB)"}, {"application/pdf", 1500, "(application/pdf, 2 kB)"},
	} {
		if got := h.e.notices.describe(c.contentType, c.bytes); got != c.want {
			t.Errorf("%s: %q, want %q", c.contentType, got, c.want)
		}
	}
}

func TestHelp(t *testing.T) {
	h := newHouse(t, nil)
	h.want(h.say("alice", "r", "#help me please"), 200, 1)
	heard := h.heard()
	if len(heard) != 1 || len(heard[0]) > 1000 || !strings.Contains(heard[0], "\n#exit, #leave - leave the room\n") ||
		!strings.Contains(heard[0], "\n#invite user - ask somebody in\n") {
		t.Errorf("%q", heard)
	}
	runSteps(t, h, []step{
		{"alice", "r", "#help invite", 200, 1,
			[]string{"alice<r: #invite user [room] - ask somebody in, for owners and admins."}},
		{"alice", "r", "#help #Leave", 200, 1, []string{"alice<r: #exit [room] - leave the room, for members; also #leave."}},
	})
}

// Who adds somebody that is not there hears so, once.
func TestAddOffline(t *testing.T) {
	h := newHouse(t, nil)
	h.relay.codes["ghost"] = result(404)
	runSteps(t, h, []step{
		{"alice", "r", "#create", 200, 1, []string{"alice<r: "}},
		{"alice", "r", "#add ghost", 200, 1, []string{"alice<r: *** ghost has joined",
			"alice<r: *** ghost is not registered now and will get the messages later.", "ghost<r: *** alice has added you"}},
		{"alice", "r", "#add bob", 200, 1, []string{"alice<r: *** bob has joined", "bob<r: *** alice has added you",
			"ghost<r: "}},
		{"alice", "r", "hello", 200, 1, []string{"bob<r: [alice]: hello", "ghost<r: [alice]: hello"}},
	})
	h.relay.set(func() { delete(h.relay.codes, "ghost") })
	h.e.Registered("sip:ghost@x.org")
	var heard []string
	h.until("ghost is back", func() bool { heard = append(heard, h.heard()...); return len(heard) >= 2 })
	h.quiet()
	heard = append(heard, h.heard()...)
	slices.Sort(heard)
	if len(heard) != 2 || !strings.HasPrefix(heard[0], "ghost<r: *** alice has added you") ||
		heard[1] != "ghost<r: [alice]: hello" {
		t.Errorf("coming back: %q", heard)
	}
}

// What is offline is said in the list.
func TestListOffline(t *testing.T) {
	h := newHouse(t, nil)
	h.say("alice", "r", "#create")
	h.say("bob", "r", "#join")
	h.say("alice", "r", "#modify bob admin")
	h.relay.set(func() { h.relay.codes["bob"] = result(480) })
	h.say("alice", "r", "hello")
	h.heard()
	runSteps(t, h, []step{{"alice", "r", "#list", 200, 1,
		[]string{"alice<r: 2 members: *alice (owner), ~bob (admin, offline)"}}})
}

func TestTooLarge(t *testing.T) {
	h := newHouse(t, nil)
	h.say("alice", "r", "#create")
	h.say("bob", "r", "#join")
	h.say("carol", "r", "#join")
	h.heard()
	for _, c := range []struct{ user, body, want string }{
		{"alice", strings.Repeat("x", 33000),
			"alice<r: *** Your message is too long and went to nobody: it has 33000 characters, about 30"},
		{"bob", strings.Repeat("ü", 20000),
			"bob<r: *** Your message is too long and went to nobody: it has 20000 characters, about 15"},
		{"carol", strings.Repeat("\"", 20000),
			"carol<r: *** Your message is too long and went to nobody: it has 20000 characters, about 15"},
	} {
		h.want(h.say(c.user, "r", c.body), 413, -207)
		h.wantHeard(c.want)
	}
}
