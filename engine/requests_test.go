package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
	"imcd/evapi/sipmsg"
)

const requestsDir = "../testdata/requests"

// phoneRequest reads one of the requests that phones send.
func phoneRequest(t *testing.T, name string) *evapi.Message {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(requestsDir, name+".sip"))
	if err != nil {
		t.Fatal(err)
	}
	m := &evapi.Message{Received: time.Now(), RURI: "sip:chat-a@chat.test"}
	if m.Request, m.Err = sipmsg.ParseRequest(raw); m.Err != nil {
		t.Fatalf("%s: %v", name, m.Err)
	}
	return m
}

// phoneCase is a request of phones and what comes of it.
type phoneCase struct {
	file    string
	kind    sipmsg.Kind
	code    int      // of the answer to a member; 0: 200
	command bool     // it is #list, and only its sender gets something
	line    string   // what bob gets before it; empty: nothing
	body    string   // what bob gets; empty: nothing; same: as it was sent
	ctype   string   // of that; empty: as it was sent
	headers []string // that the copy must have
	not     []string // that it must not have
}

const same = "(as it was sent)"

func phoneCases(t *testing.T) []phoneCase {
	t.Helper()
	const utf8 = "text/plain;charset=utf-8"
	return []phoneCase{
		{file: "linphone-text", kind: sipmsg.Text, body: "[alice]: Grüße aus Köln 😀"},
		{file: "linphone-cpim-text", kind: sipmsg.Text, body: "[alice]: Hallo", ctype: "text/plain; charset=UTF-8"},
		{file: "linphone-cpim-line-feeds", kind: sipmsg.Text, body: "[alice]: Hallo", ctype: "text/plain; charset=UTF-8"},
		{file: "linphone-cpim-other-prefix", kind: sipmsg.Text, body: "[alice]: Hallo", ctype: "text/plain",
			headers: []string{"Content-ID: <1234567890@foo.com>"}},
		{file: "linphone-cpim-command", kind: sipmsg.Text, command: true},
		{file: "linphone-delivered", kind: sipmsg.Receipt},
		{file: "linphone-displayed-deflate", kind: sipmsg.Receipt},
		{file: "linphone-failed-deflate", kind: sipmsg.Receipt},
		{file: "linphone-cpim-delivered", kind: sipmsg.Receipt},
		{file: "linphone-typing", kind: sipmsg.Typing, body: same, headers: []string{"Expires: 0", "Priority: non-urgent"}},
		{file: "linphone-typing-deflate", kind: sipmsg.Typing, body: same,
			headers: []string{"Content-Encoding: deflate", "Expires: 0"}},
		{file: "linphone-cpim-typing", kind: sipmsg.Typing, body: typingXML(t), ctype: "application/im-iscomposing+xml"},
		{file: "linphone-file", kind: sipmsg.Attachment, body: same,
			line: "[alice] sent a.png (17 bytes): https://files.example/a.png"},
		{file: "linphone-text-deflate", kind: sipmsg.Text, body: "[alice]: Grüße", ctype: utf8,
			not: []string{"Content-Encoding"}},
		{file: "baresip-text", kind: sipmsg.Text, body: "[alice]: hello"},
		{file: "baresip-command", kind: sipmsg.Text, command: true},
		{file: "jssip-text", kind: sipmsg.Text, body: "[alice]: hello from a tab"},
		{file: "sipjs-text", kind: sipmsg.Text, body: "[alice]: hello\nin two lines"},
		{file: "html", kind: sipmsg.Text, body: same, line: "[alice] sent text/html"},
		{file: "messenger-text", kind: sipmsg.Text, body: "[alice]: hello"},
		{file: "messenger-typing", kind: sipmsg.Typing, body: same},
		{file: "utf16", kind: sipmsg.Text, command: true},
		{file: "utf16-text", kind: sipmsg.Text, body: "[alice]: Grüße", ctype: utf8},
		{file: "latin1", kind: sipmsg.Text, body: "[alice]: Gr\xfc\xdfe"},
		{file: "base64", kind: sipmsg.Text, body: "[alice]: Grüße", ctype: utf8, headers: []string{"MIME-Version: 1.0"},
			not: []string{"Content-Transfer-Encoding"}},
		{file: "gzip-compact", kind: sipmsg.Text, body: "[alice]: Grüße", ctype: utf8, not: []string{"Content-Encoding"}},
		{file: "unknown-encoding", kind: sipmsg.Text, body: same, line: "[alice] sent text/plain",
			headers: []string{"Content-Encoding: zstd", "Content-Language: de"}},
		{file: "picture", kind: sipmsg.Attachment, body: same, line: "[alice] sent image/png", headers: []string{
			`Content-Disposition: attachment; filename="a!b.png"`, "Content-Language: de", "Content-ID: <pic@192.0.2.7>",
			"MIME-Version: 1.0", "Content-Encoding: identity"}},
		{file: "cpim-picture", kind: sipmsg.Attachment, body: "\x89PNG\r\n\x1a\n\x00\xff", ctype: "image/png",
			line:    "[alice] sent image/png",
			headers: []string{`Content-Disposition: attachment; filename="a.png"`}},
		{file: "multipart", kind: sipmsg.Attachment, body: same, line: "[alice] sent multipart/mixed"},
		{file: "bad-cpim", kind: sipmsg.Attachment, code: 400},
		{file: "empty", kind: sipmsg.Nothing, code: 400},
		{file: "empty-picture", kind: sipmsg.Nothing, code: 400},
		{file: "white", kind: sipmsg.Nothing, code: 400},
		{file: "auto-reply", kind: sipmsg.Text, body: "[alice]: #list: I am away",
			headers: []string{"Auto-Submitted: auto-replied"}},
		{file: "auto-no", kind: sipmsg.Text, command: true},
		{file: "require", code: 420},
		{file: "expires", kind: sipmsg.Text, body: "[alice]: until then", headers: []string{"Expires: 3600"},
			not: []string{"1990"}},
	}
}

// TestPhones: each request in testdata/requests, from a member and from somebody else.
func TestPhones(t *testing.T) {
	left := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(requestsDir, "*.sip"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no requests: %v", err)
	}
	for _, f := range files {
		left[strings.TrimSuffix(filepath.Base(f), ".sip")] = true
	}
	for _, c := range phoneCases(t) {
		delete(left, c.file)
		t.Run(c.file, func(t *testing.T) {
			quietly := func(c *Config) { c.Receipts = ReceiptsOff }
			h := newHouse(t, quietly)
			req := h.e.newRequest(phoneRequest(t, c.file))
			if req.content.Kind != c.kind || (req.cmd != nil) != c.command {
				t.Errorf("it is %v, command %v", req.content.Kind, req.cmd)
			}
			c.fromStranger(t, h)
			c.fromMember(t, newHouse(t, quietly)) // the Call-ID is the same
		})
	}
	for name := range left {
		t.Errorf("%s.sip is no case", name)
	}
}

// post sends the request, says what came of it and returns the copies.
func (c *phoneCase) post(t *testing.T, h *house) (evapi.Answer, []got) {
	t.Helper()
	a := <-h.send(phoneRequest(t, c.file))
	h.quiet()
	return a, h.relay.take()
}

// fromStranger: only who has written a text hears that it went to nobody.
func (c *phoneCase) fromStranger(t *testing.T, h *house) {
	t.Helper()
	a, copies := c.post(t, h)
	code, notices := 404, 0
	switch {
	case c.kind == sipmsg.Receipt || c.kind == sipmsg.Typing:
		code = 200
	case c.code != 0:
		code = c.code
	}
	if (c.kind == sipmsg.Text || c.file == "empty" || c.file == "white") && c.file != "auto-reply" {
		notices = 1
	}
	if a.Code != code || len(copies) != notices {
		t.Errorf("of no member: %d %s, and %+v", a.Code, a.Reason, copies)
	}
}

func (c *phoneCase) fromMember(t *testing.T, h *house) {
	t.Helper()
	for _, user := range []string{"alice", "bob", "carol"} {
		<-h.post("<sip:"+user+"@chat.test>", "chat-a@chat.test", "#join")
	}
	h.quiet()
	h.relay.take()
	stored := len(h.store.messages())
	a, copies := c.post(t, h)
	code := c.code
	if code == 0 {
		code = 200
	}
	if a.Code != code || (a.Unsupported == "nonsense-ext, recipient-list-message, foo") != (code == 420) {
		t.Errorf("answered %d %s, Unsupported: %q", a.Code, a.Reason, a.Unsupported)
	}
	var bob []got
	for _, copied := range copies {
		if strings.HasPrefix(copied.to, "sip:bob") {
			bob = append(bob, copied)
		}
		if strings.HasPrefix(copied.to, "sip:alice") != (c.command || c.file == "empty" || c.file == "white") {
			t.Errorf("to %s: %q", copied.to, copied.body)
		}
		if !strings.Contains(copied.headers, "\r\nDate: ") && !strings.HasPrefix(copied.headers, "Date: ") {
			t.Errorf("no Date: %q", copied.headers)
		}
	}
	c.check(t, bob)
	kept := c.body != "" && c.kind != sipmsg.Typing
	if n := len(h.store.messages()) - stored; (n == 1) != kept || n > 1 {
		t.Errorf("%d messages stored", n)
	}
}

// check looks at what bob gets.
func (c *phoneCase) check(t *testing.T, copies []got) {
	t.Helper()
	var bodies []string
	if c.line != "" {
		bodies = append(bodies, c.line)
	}
	raw := phoneRequest(t, c.file).Request
	if c.body == same {
		c.body = string(raw.Body())
	}
	if c.body != "" {
		bodies = append(bodies, c.body)
	}
	if len(copies) != len(bodies) {
		t.Fatalf("bob gets %+v", copies)
	}
	for i, want := range bodies {
		if got := copies[i].body; got != want && got != asJSON(want) {
			t.Errorf("bob gets %q, want %q", got, want)
		}
	}
	if len(bodies) == 0 {
		return
	}
	last := copies[len(copies)-1]
	if c.ctype == "" {
		c.ctype = raw.ContentType().Value()
	}
	for _, want := range append(c.headers, "Content-Type: "+c.ctype) {
		if !strings.Contains("\r\n"+last.headers, "\r\n"+want+"\r\n") {
			t.Errorf("no %q in %q", want, last.headers)
		}
	}
	for _, not := range append(c.not, "imdn.") {
		if strings.Contains(last.headers, not) {
			t.Errorf("%q in %q", not, last.headers)
		}
	}
	if named := strings.HasPrefix(last.from, `"`); named != (!strings.HasPrefix(last.body, "[alice]: ") ||
		c.file == "baresip-text") {
		t.Errorf("From: %s", last.from)
	}
}

// typingXML is what a CPIM wrapper holds.
func typingXML(t *testing.T) string { return string(phoneRequest(t, "linphone-typing").Request.Body()) }

// asJSON is how the fake relay reads what is no UTF-8.
func asJSON(s string) string {
	var b strings.Builder
	for _, r := range s {
		b.WriteRune(r)
	}
	return b.String()
}

// messages are all that are stored.
func (s *memStore) messages() []store.MessageRow {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []store.MessageRow
	for _, said := range s.said {
		all = append(all, said...)
	}
	return all
}
