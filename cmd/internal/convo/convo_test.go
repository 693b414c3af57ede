package convo

import (
	"strings"
	"testing"
	"time"
)

const sample = `# a file
== One
set owner_leave refuse
user alice "Al \"the\" one"
user bob@other.example away

alice to chat-a: #create
  type text/x
  header Subject: s
  = 200 rc 1 OK then
  alice,bob < chat-a "Al": "a\x00" "b"*3
    type image/x
    header X-A: b
  bob < chat-b: *** …
bob registers
bob answers 486
members chat-a: alice bob@other.example
members chat-a:
rooms: chat-a
restart
silence 36h
  alice < chat-a: …
alice to sip:chat-a@x:5060;a=b: ""
  from-bytes "a\r\n"
  = 400
`

func TestParse(t *testing.T) {
	all, err := Parse("sample", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || len(all[0].Steps) != 9 || all[0].Config() != "owner_leave=refuse\n" {
		t.Fatalf("%+v", all)
	}
	s := all[0].Steps[0]
	if s.Room != "sip:chat-a@chat.example" || s.Reply != (Reply{200, "1", "OK then"}) || len(s.Expect) != 3 ||
		s.Request.Type != "text/x" || len(s.Request.Headers) != 1 {
		t.Errorf("%+v", s)
	}
	for _, e := range s.Expect[:2] {
		if e.Type != "image/x" || len(e.Headers) != 1 || string(e.Body) != "a\x00bbb" || e.Display != "Al" {
			t.Errorf("%+v", e)
		}
	}
	if s := all[0].Steps[7]; s.Kind != Silence || s.Time != 36*time.Hour || len(s.Expect) != 1 {
		t.Errorf("%+v", s)
	}
	last := all[0].Steps[8]
	if len(last.Request.Body) != 0 || last.Request.From != "a\r\n" || last.Room != "sip:chat-a@x:5060;a=b" {
		t.Errorf("%+v", last)
	}
	if !all[0].Users[1].Away || all[0].Users[1].AOR() != "sip:bob@other.example" {
		t.Errorf("%+v", all[0].Users)
	}
}

func TestParseErrors(t *testing.T) {
	for _, text := range []string{
		"alice to chat-a: x", "== a\nnonsense", "== a\n  = 200", "== a\nset x", "== a\nuser a b c",
		"== a\nalice to chat-a: x\n  = 200", "== a\nuser alice\nalice to chat-a: x",
		"== a\nuser alice\nalice to chat-a: x\n  = abc",
		"== a\nuser alice\nalice to chat-a: x\n  = 200\n  bob < chat-a: x",
		"== a\nuser alice\nalice to chat-a: \"x\n  = 200", "== a\nuser alice\nalice registers\n  = 200",
		"== a\nuser alice\nalice to chat-a: \"x\"*99999999\n  = 200", "== a\nsilence long",
	} {
		if _, err := Parse("bad", []byte(text)); err == nil || !strings.HasPrefix(err.Error(), "bad:") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestPattern(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"abc", "abc", true}, {"abc", "abcd", false}, {"a…c", "ac", true}, {"a…c", "abbc", true},
		{"a…c", "abcd", false},
		{"…b…", "xby", true}, {"…b…", "xy", false}, {"aa…a", "aa", false}, {"", "", true}, {"…", "", true},
		{"…", "\xff", true},
	} {
		if got := Pattern(c.pattern).Match([]byte(c.text)); got != c.want {
			t.Errorf("%q %q: %v", c.pattern, c.text, got)
		}
	}
}
