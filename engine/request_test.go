package engine

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"imcd/evapi"
)

// Whatever a body is, it is read without harm: a command has its arguments and a
// room with a proper name, and what is refused says why.
func FuzzCommand(f *testing.F) {
	for _, body := range []string{"#create chat-1 private", "#invite sip:john@example.org", "#", "# x", "#join\ta\r\nb",
		"#modify bob owner r x", "#list <r>", "#add \"x\"", "#\x00", "hello", "#exit sip:@", "#history -1",
		"#JOIN sips:A@B:1;x=y"} {
		f.Add(body, "sip:room@example.org")
	}
	h := newHouse(f, nil)
	raw := "MESSAGE sip:r@x SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5;branch=z9hG4bK1\r\nFrom: <sip:a@x>;tag=1\r\n" +
		"To: <sip:r@x>\r\nCall-ID: 1\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n"
	msg, err := sip.NewParser().ParseSIP([]byte(raw))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body, ruri string) {
		r := msg.(*sip.Request).Clone()
		r.SetBody([]byte(body))
		req := h.e.newRequest(&evapi.Message{RURI: ruri, Request: r})
		if req.refused != nil {
			if req.refused.code < 400 || req.refused.reason == "" {
				t.Fatalf("refused with %+v", req.refused)
			}
			return
		}
		if strings.ContainsAny(req.room.URI(), "\r\n\x00 \"<>\\") || req.room.User == "" || req.room.Host == "" {
			t.Fatalf("%q to %q is about room %q", body, ruri, req.room.URI())
		}
		if c := req.cmd; c != nil && (len(req.args) < c.min || len(req.args) > c.max) {
			t.Fatalf("%q has %d arguments", body, len(req.args))
		}
	})
}
