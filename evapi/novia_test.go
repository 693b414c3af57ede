package evapi

import (
	"fmt"
	"testing"
)

// TestReplyWithoutVia: a response that has no Via at all, as topos makes them, is known by
// the tag of its From; one with somebody else's Via is not.
func TestReplyWithoutVia(t *testing.T) {
	f := newSIPFormat("127.0.0.1:5555", "127.0.0.1:5060")
	const branch = 0x0123456789abcdef
	tag := string(appendBranch(nil, branch))
	from := "From: <sip:chat-a@x.org>;tag=" + tag + "\r\n"
	for name, tc := range map[string]struct {
		head  string
		ok    bool
		noVia bool
	}{
		"ours":              {"Via: SIP/2.0/UDP 127.0.0.1:5555;branch=z9hG4bK" + string(f.cookie) + tag + "\r\n" + from, true, false},
		"no Via":            {from, true, true},
		"no Via, short":     {"f: \"Al\" <sip:chat-a@x.org>;tag=" + tag + ";x=y\r\n", true, true},
		"somebody's Via":    {"Via: SIP/2.0/UDP 127.0.0.1:7;branch=z9hG4bK1\r\n" + from, false, false},
		"somebody's, short": {from + "v : SIP/2.0/UDP 127.0.0.1:7;branch=z9hG4bK1\r\n", false, false},
		"no tag":            {"From: <sip:chat-a@x.org>\r\n", false, false},
		"short tag":         {"From: <sip:chat-a@x.org>;tag=0123\r\n", false, false},
		"other tag":         {"From: <sip:chat-a@x.org>;tag=zzzzzzzzzzzzzzzzzz\r\n", false, false},
		"tag of To":         {"To: <sip:chat-a@x.org>;tag=" + tag + "\r\n", false, false},
	} {
		r, ok := f.parseReply(fmt.Appendf(nil, "SIP/2.0 486 Busy\r\n%sCall-ID: x\r\nCSeq: 1 MESSAGE\r\n\r\n", tc.head))
		if ok != tc.ok || ok && (r.branch != branch || r.code != 486 || r.noVia != tc.noVia) {
			t.Errorf("%s: %+v %t", name, r, ok)
		}
	}
}

// TestRegistrations: what Kamailio says of registrations, with and without a registrar.
func TestRegistrations(t *testing.T) {
	for params, want := range map[string]RegistrationsEvent{
		`{"accepted":"12","reported":"1"}`:     {12, true},
		`{"accepted":"12","reported":"0"}`:     {12, false},
		`{"accepted":"<null>","reported":"0"}`: {-1, false},
		`{}`:                                   {-1, false},
	} {
		ev, err := DecodeEvent([]byte(event("imc.registrations", params)))
		if err != nil || ev != Event(want) {
			t.Errorf("%s: %+v %v", params, ev, err)
		}
	}
	if _, err := DecodeEvent([]byte(event("imc.registrations", `{"accepted":1}`))); err == nil {
		t.Error("a number was taken")
	}
}
