package engine

import (
	"strings"
	"testing"
	"unsafe"

	"imcd/engine/store"
)

func TestParseName(t *testing.T) {
	long := strings.Repeat("a", 65)
	for _, tc := range []struct {
		in, host string
		want     string // empty: an error
		why      string // part of the error
	}{
		{"sip:bob@example.org", "x", "bob@example.org", ""},
		{"bob@example.org", "x", "bob@example.org", ""},
		{"bob", "x", "bob@x", ""},
		{"sip:bob", "x", "bob@x", ""},
		{"SIPS:Bob@Example.org:5061;transport=tls", "x", "Bob@Example.org", ""},
		{"sip:bob:secret@example.org", "x", "bob@example.org", ""},
		{"sip:bob@[2001:db8::1]:5060", "x", "bob@[2001:db8::1]", ""},
		{"+4930-12", "x", "+4930-12@x", ""},
		{"a!!b", "x", "a!!b@x", ""},
		{"%41lice", "x", "%41lice@x", ""},
		{"", "x", "", "empty"},
		{"tel:+4930@x", "x", "", ""},
		{"sip:@x", "x", "", "user"},
		{"sip:bob@x:65536", "x", "", "port"},
		{"bob", "", "", "host"},
		{"<bob>", "x", "", "characters"},
		{"bob\"x", "x", "", "characters"},
		{"bob\r\nEvil: 1", "x", "", "scheme"},
		{"bob\r\nEvil", "x", "", "characters"},
		{"b\x00b", "x", "", "characters"},
		{"bob@ex ample", "x", "", "characters"},
		{"bob%4", "x", "", "characters"},
		{"jörg", "x", "", "characters"},
		{long, "x", "", "longer than 64"},
		{"bob@" + long, "x", "", "longer than 64"},
	} {
		n, err := ParseName(tc.in, tc.host)
		switch {
		case tc.want == "" && err == nil:
			t.Errorf("ParseName(%q) = %v, want an error", tc.in, n)
		case tc.want == "" && !strings.Contains(err.Error(), tc.why):
			t.Errorf("ParseName(%q): error %q does not say %q", tc.in, err, tc.why)
		case tc.want != "" && (err != nil || n.User+"@"+n.Host != tc.want):
			t.Errorf("ParseName(%q) = %v, %v, want %s", tc.in, n, err, tc.want)
		}
	}
}

func FuzzParseName(f *testing.F) {
	f.Add("sip:bob@example.org;x=y")
	f.Add("a@b@c")
	f.Add("sip:[::1]")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseName(s, "example.org")
		if err != nil {
			return
		}
		if strings.ContainsAny(n.URI(), "\r\n\x00 \"<>\\") {
			t.Fatalf("ParseName(%q) lets %q through", s, n.URI())
		}
		again, err := ParseName(n.URI(), "")
		if err != nil || again != n {
			t.Fatalf("ParseName(%q) = %v, but read again %v, %v", s, n, again, err)
		}
	})
}

// TestMemberIsSmall: there may be millions of members.
func TestMemberIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(member{}); n > 128 {
		t.Errorf("a member takes %d bytes", n)
	}
	m := newMember(store.Name{User: "Al", Host: "Example.org"}, store.MemberAdmin)
	if m.name() != (store.Name{User: "Al", Host: "Example.org"}) || m.uri != "sip:Al@Example.org" ||
		m.key != "al@example.org" || !m.rights() {
		t.Errorf("%+v is %v", m, m.name())
	}
}

// A member is one user under each spelling, and is shown with the first.
func TestEscapesAreOneMember(t *testing.T) {
	h := newHouse(t, nil)
	h.want(h.say("%61lice", "a", "#create"), 200, 1)
	h.want(h.say("alice", "a", "#create"), 200, 1)
	h.want(h.say("bob", "a", "#join"), 200, 1)
	h.relay.take()
	h.want(h.say("Al%69ce", "a", "hello"), 200, 1)
	h.wantHeard("bob<a: [%61lice]: hello")
	h.want(h.say("bob", "a", "#add %61lice"), 403, -52)
	h.want(h.say("alice", "a", "#add B%6Fb"), 403, -54)
	h.want(h.say("alice", "a", "#destroy"), 200, 1)
}
