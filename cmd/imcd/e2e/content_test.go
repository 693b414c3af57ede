package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// header is a header of what was received; empty if there is none.
func header(r evapitest.Received, name string) string {
	if h := r.Request.GetHeader(name); h != nil {
		return h.Value()
	}
	return ""
}

// fromPhone sends one of testdata/requests as it is, but to the room of this system.
func fromPhone(t *testing.T, u *evapitest.UA, room, name string) int {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("../../../testdata/requests", name+".sip"))
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(string(raw), "\r\n\r\n")
	for _, change := range []struct{ old, new string }{{"sip:chat-a@chat.test", roomURI(room)},
		{"sip:alice@chat.test", u.AOR()},
		{"192.0.2.7:5060", strings.TrimPrefix(u.Contact()[strings.Index(u.Contact(), "@")+1:], "")},
		{"SIP/2.0/WSS", "SIP/2.0/UDP"},
		{"SIP/2.0/WS ", "SIP/2.0/UDP "}, {"Call-ID: ", "Call-ID: " + name + "-" + room + "-"},
		{"branch=z9hG4bK", "branch=z9hG4bK" + name}} {
		head = strings.ReplaceAll(head, change.old, change.new)
	}
	res, err := u.Raw(kit.Context(t), []byte(head+"\r\n\r\n"+body))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return res.StatusCode
}

// TestContentThroughKamailio: what phones send arrives with all that describes it, at once
// and later, typing only at once, receipts never; on each way through Kamailio.
func TestContentThroughKamailio(t *testing.T) {
	for _, fanout := range []string{"sip", "batch", "rpc"} {
		t.Run(fanout, func(t *testing.T) {
			t.Parallel()
			s := start(t, "sqlite", stack.Options{Settings: map[string]string{"fanout": fanout}})
			const room = "chat-content"
			alice, bob, carol := chatAgent(t, s, "alice"), chatAgent(t, s, "bob"), chatAgent(t, s, "carol")
			for _, u := range []*evapitest.UA{alice, bob, carol} {
				if err := u.Register(kit.Context(t)); err != nil {
					t.Fatal(err)
				}
			}
			mustSay(t, alice, "alice", room, "#create")
			mustSay(t, bob, "bob", room, "#join")
			mustSay(t, carol, "carol", room, "#join")
			hears(t, bob, "*** carol")
			hears(t, carol, "*** You are in")
			if err := carol.Unregister(kit.Context(t)); err != nil {
				t.Fatal(err)
			}
			bob.Clear()
			carol.Clear()
			before := time.Now()
			for _, name := range []string{"linphone-typing", "linphone-delivered", "linphone-cpim-delivered", "picture",
				"linphone-cpim-text",
				"gzip-compact", "unknown-encoding"} {
				if code := fromPhone(t, alice, room, name); code != 200 {
					t.Errorf("%s is answered %d", name, code)
				}
			}
			got, err := bob.WaitN(kit.Context(t), 7)
			if err != nil {
				t.Fatal(err)
			}
			checkTyping(t, got[0])
			checkContent(t, got[1:], before)
			if err := carol.Register(kit.Context(t)); err != nil {
				t.Fatal(err)
			}
			got, err = carol.WaitN(kit.Context(t), 6)
			if err != nil {
				t.Fatal(err)
			}
			checkContent(t, got, before)
			if err := s.Idle(kit.Context(t)); err != nil {
				t.Fatal(err)
			}
			if all := len(bob.Received()) + len(carol.Received()); all != 13 {
				t.Errorf("%d copies altogether", all)
			}
		})
	}
}

func checkTyping(t *testing.T, r evapitest.Received) {
	t.Helper()
	if r.ContentType != "application/im-iscomposing+xml" || r.FromName != "alice" || header(r, "Expires") != "0" ||
		header(r, "Priority") != "non-urgent" || !strings.Contains(r.Text(), "<state>active</state>") {
		t.Errorf("typing:\n%s", r.Request)
	}
}

// checkContent looks at what comes of the requests of TestContentThroughKamailio that are
// kept.
func checkContent(t *testing.T, got []evapitest.Received, after time.Time) {
	t.Helper()
	for i, want := range []struct {
		text    string
		headers map[string]string
	}{
		{"[alice] sent image/png", map[string]string{"Auto-Submitted": "auto-generated"}},
		{"\x89PNG\r\n\x1a\n\x00\xff", map[string]string{"Content-Type": "image/png",
			"Content-Disposition": `attachment; filename="a!b.png"`,
			"Content-Language":    "de", "Content-ID": "<pic@192.0.2.7>", "MIME-Version": "1.0",
			"Content-Encoding": "identity",
			"Auto-Submitted":   ""}},
		{"[alice]: Hallo", map[string]string{"Content-Type": "text/plain; charset=UTF-8", "Auto-Submitted": ""}},
		{"[alice]: Grüße", map[string]string{"Content-Type": "text/plain;charset=utf-8", "Content-Encoding": ""}},
		{"[alice] sent text/plain", nil},
		{"\x28\xb5\x2f\xfd\x04\x00", map[string]string{"Content-Encoding": "zstd", "Content-Language": "de"}},
	} {
		if got[i].Text() != want.text {
			t.Errorf("%d: %q, not %q", i, got[i].Text(), want.text)
		}
		for name, value := range want.headers {
			if is := header(got[i], name); is != value {
				t.Errorf("%q: %s: %q, not %q", want.text, name, is, value)
			}
		}
		at, err := time.Parse("Mon, 02 Jan 2006 15:04:05 GMT", header(got[i], "Date"))
		if err != nil || at.Before(after.Truncate(time.Second)) || at.After(got[i].At) {
			t.Errorf("%q: Date: %q", want.text, header(got[i], "Date"))
		}
		if header(got[i], "X-IMC-Secret") != "" || header(got[i], "X-IMC-Path") == "" {
			t.Errorf("%q:\n%s", want.text, got[i].Request)
		}
	}
}

// TestRequireThroughKamailio: 420 says what is not understood.
func TestRequireThroughKamailio(t *testing.T) {
	s := start(t, "sqlite", stack.Options{})
	alice := chatAgent(t, s, "alice")
	res, err := alice.Do(kit.Context(t), evapitest.Request{Method: "MESSAGE", URI: roomURI("chat-x"),
		Body:    []byte("#create"),
		Headers: []string{"Require: nonsense-ext, recipient-list-message"}})
	if err != nil {
		t.Fatal(err)
	}
	if h := res.GetHeader("Unsupported"); res.StatusCode != 420 || h == nil ||
		h.Value() != "nonsense-ext, recipient-list-message" {
		t.Errorf("%d %s, Unsupported: %v", res.StatusCode, res.Reason, h)
	}
	if n := len(alice.Received()); n != 0 {
		t.Errorf("%d notices", n)
	}
}
