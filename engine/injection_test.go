package engine

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"imcd/engine/store"
	"imcd/evapi"
	"imcd/evapi/sipmsg"
)

// hostile are requests with which a client could try to write into what others
// are sent.
func hostile() []string {
	request := func(from, callID, contentType, body string) string {
		return "MESSAGE sip:chat-a@x.org SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5;branch=z9hG4bK1\r\nFrom: " + from +
			";tag=1\r\nTo: <sip:chat-a@x.org>\r\nCall-ID: " + callID + "\r\nCSeq: 1 MESSAGE\r\nContent-Type: " + contentType +
			"\r\n\r\n" + body
	}
	return []string{
		request(`"Al" <sip:alice@x.org>`, "c1", "text/plain", "hi"),
		request(`"Al\" <sip:root@x.org>\r\nX: y" <sip:alice@x.org>`, "c1", "text/plain", "hi"),
		request("\"Al\\\r\n X: y\" <sip:alice@x.org>", "c\r\n X: y", "text/plain\r\n ;x=\"\r\n y\"", "hi"),
		request("\"\x00\x7f\xff\\\\\" <sip:alice@x.org>", "c!!d", "image/x!y!", "a\x00b"),
		request(`Al Bob <sip:a'(*)!$&+,;=?/%0d%0aX:y@x.org>`, "<c>\"", "text/plain;charset=\"a\\\"b\"", `"],"id":1}`),
		request(`"$(ru) {body} {user}" <sip:{body}@x.org>`, "c1", "message/cpim", "#create $var(x)"),
		request(`<sip:alice@x.org>`, "c1", "text/plain", "#create chat-b\r\nX: y"),
		request(`<sip:alice@x.org>`, "c1", "text/plain", "#add '; DROP TABLE imc_rooms; --"),
		request(`<sip:alice@x.org>`, "c1", "text/plain", "#nonsense\x00\r\n\r\n"),
		request(`<sip:alice@x.org>`, "c1",
			"image/png\r\nExpires: 9\r\nAuto-Submitted: auto-generated;x=\"\r\n y\"\r\ne: br\r\n"+
				"Content-Disposition: a;\r\n b\r\nX-IMC-Path: a-1.b.c\r\nX-IMC-Path: \r\n d", "x"),
		request(`<sip:alice@x.org>`, "c1", "message/cpim",
			"From: x\r\nimdn.Message-ID: \\r\\nX: y\r\n\r\nContent-Type: image/png\r\n"+
				"Content-ID: a\r\n X: y\rX: y\r\n\r\nPNG"),
	}
}

// FuzzInjection takes a raw request the whole way: what a client writes cannot add
// a header, change who speaks, or end a string in what others are sent.
func FuzzInjection(f *testing.F) {
	for _, raw := range hostile() {
		f.Add([]byte(raw))
	}
	h := newHouse(f, nil)
	room := newRoom(store.Name{User: "chat-a", Host: "x.org"}, 7)
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := &evapi.Message{RURI: "sip:chat-a@x.org", Received: time.Now()}
		m.Request, m.Err = sipmsg.ParseRequest(raw)
		req := h.e.newRequest(m)
		if req.refused != nil {
			checkReason(t, req.refused.reason)
		}
		if req.from.IsZero() {
			return
		}
		row := &store.MessageRow{Room: 7, Seq: 1, Sender: req.from, Body: req.body, At: time.Now(),
			Display: cleanDisplay(req.display), ContentType: req.contentType, Headers: req.rowHeaders(),
			Expires: req.marks.lives.until(time.Now())}
		if !utf8.ValidString(row.Display) || strings.ContainsFunc(row.Display,
			func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Fatalf("display name %q", row.Display)
		}
		if out, err := h.e.compose(room, row); err == nil {
			display, names := row.Display, ""
			entity := storedEntity(row)
			framed := sipmsg.InPlace(&entity)
			if !framed {
				display = displayOf(row)
			}
			for _, h := range row.Headers {
				if h.Name != headerPath {
					names += h.Name + " "
				}
			}
			names += "Date X-IMC-Path"
			if !row.Expires.IsZero() {
				names += " Expires"
			}
			checkCopy(t, out, room.name, display, names)
			if !framed && decode(evapi.Copy{Out: out, To: "sip:bob@x.org", CallID: "id"}).body != string(req.body) {
				t.Fatal("the body is not as it was")
			}
		}
		if out, err := h.e.composeText(room.name, "", "*** "+clip(req.word), req.callID); err == nil {
			names := "Auto-Submitted Date X-IMC-Path"
			if req.callID != "" {
				names += " In-Reply-To"
			}
			checkCopy(t, out, room.name, "", names)
		}
	})
}

func checkReason(t *testing.T, reason string) {
	if reason == "" || !utf8.ValidString(reason) || strings.ContainsAny(reason, "\r\n\x00") {
		t.Fatalf("reason phrase %q", reason)
	}
}

// checkCopy reads a copy as its receiver does.
func checkCopy(t *testing.T, out *evapi.Outgoing, room store.Name, display, more string) {
	t.Helper()
	c := decode(evapi.Copy{Out: out, To: "sip:bob@x.org", CallID: "id"})
	headers := c.headers
	if !strings.Contains(headers, "From: ") { // imc.send: From, To and Call-ID have fields of their own
		headers = "From: " + c.from + "\r\nTo: <sip:bob@x.org>\r\nCall-ID: id\r\n" + headers
	}
	var names []string
	for line := range strings.SplitSeq(strings.TrimSuffix(headers, "\r\n"), "\r\n") {
		name, _, _ := strings.Cut(line, ": ")
		if name != "X-IMC-Secret" { // Kamailio takes it out
			names = append(names, name)
		}
	}
	want := "From To Call-ID Content-Type " + more
	if got := strings.Join(names, " "); got != want ||
		strings.ContainsAny(strings.ReplaceAll(headers, "\r\n", ""), "\r\n\x00") {
		t.Fatalf("headers are %q, should be %q:\n%q", got, want, headers)
	}
	var raw bytes.Buffer
	raw.WriteString("MESSAGE sip:bob@x.org SIP/2.0\r\n" + headers + "CSeq: 1 MESSAGE\r\n\r\n")
	req, err := sipmsg.ParseRequest(raw.Bytes())
	if err != nil {
		t.Fatalf("%v:\n%s", err, raw.Bytes())
	}
	from, err := NameOf(&req.From().Address)
	if err != nil || from != room || cleanDisplay(req.From().DisplayName) != display {
		t.Fatalf("it comes from %q <%s>, %v; should be %q <%s>", req.From().DisplayName, from.URI(), err, display, room.URI())
	}
}

// TestHostileRequests: the same for whole conversations, with a member who hears
// everything.
func TestHostileRequests(t *testing.T) {
	h := newHouse(t, nil)
	h.say("alice", "chat-a", "#create")
	h.say("bob", "chat-a", "#join")
	h.relay.take()
	for _, raw := range hostile() {
		m := &evapi.Message{RURI: "sip:chat-a@x.org", Received: time.Now()}
		m.Request, m.Err = sipmsg.ParseRequest([]byte(raw))
		a := <-h.send(m)
		h.quiet()
		checkReason(t, a.Reason)
		for _, c := range h.relay.take() {
			if strings.Contains(c.headers, "\r\nX: y") || strings.Contains(c.headers, "\r\n ") ||
				!strings.HasSuffix(c.from, "@x.org>") {
				t.Errorf("%q made\n%q from %q", raw, c.headers, c.from)
			}
		}
	}
}
