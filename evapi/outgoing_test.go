package evapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"imcd/evapi/netstring"
)

var testPeer = func() *peer {
	p, err := newPeer("sip:127.0.0.1:5060", "hdr-secret")
	if err != nil {
		panic(err)
	}
	return p
}()

// decoded is a frame as Kamailio and its script read it.
type decoded struct {
	method                                       string
	id, ruri, nextHop, from, to, callID, headers string
	body                                         string
}

// latin1 makes a string in which each byte is a character, for Go's JSON decoder,
// which would replace invalid UTF-8.
func latin1(b []byte) []byte {
	var out []byte
	for _, c := range b {
		out = append(out, string(rune(c))...)
	}
	return out
}

func unlatin1(s string) string {
	var out []byte
	for _, r := range s {
		out = append(out, byte(r))
	}
	return string(out)
}

func decodeFrame(t *testing.T, payload []byte) decoded {
	t.Helper()
	var f struct {
		Version string `json:"jsonrpc"`
		Method  string
		Params  []string
		ID      json.Number
	}
	d := json.NewDecoder(bytes.NewReader(latin1(payload)))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		t.Fatalf("%v in %q", err, payload)
	}
	if d.More() {
		t.Fatalf("more behind the JSON in %q", payload)
	}
	if f.Version != "2.0" {
		t.Fatalf("version %q", f.Version)
	}
	p := f.Params
	for i := range p {
		p[i] = unlatin1(p[i])
	}
	switch {
	case f.Method == "tm.t_uac_start" && len(p) == 6 && p[0] == "MESSAGE" && p[3] == ".":
		d := decoded{method: f.Method, id: f.ID.String(), ruri: p[1], nextHop: p[2], body: p[5]}
		lines := strings.SplitN(p[4], "\r\n", 4)
		d.from = strings.TrimPrefix(lines[0], "From: ")
		d.to = strings.TrimPrefix(lines[1], "To: ")
		d.callID = strings.TrimPrefix(lines[2], "Call-ID: ")
		d.headers = lines[3]
		return d
	case f.Method == "imc.send" && len(p) == 8:
		for i := 1; i < len(p); i++ {
			b, err := base64.StdEncoding.DecodeString(p[i])
			if err != nil {
				t.Fatal(err)
			}
			p[i] = string(b)
		}
		return decoded{f.Method, p[0], p[1], p[2], p[4], p[5], p[3], p[6], p[7]}
	}
	t.Fatalf("frame %q", payload)
	return decoded{}
}

func allBytes(first int) []byte {
	var b []byte
	for i := first; i < 256; i++ {
		b = append(b, byte(i))
	}
	return b
}

func TestOutgoingFrame(t *testing.T) {
	t.Parallel()
	from := `"Al \"the\" B \xff" <sip:room@example.org>`
	tests := []struct {
		name    string
		c       Content
		method  string
		headers string
	}{
		{"plain", Content{From: from, Body: []byte("hello")}, "tm.t_uac_start", "Content-Type: text/plain\r\n"},
		{"bytes", Content{From: from, Body: allBytes(1)}, "tm.t_uac_start", "Content-Type: text/plain\r\n"},
		{"empty", Content{From: from}, "tm.t_uac_start", "Content-Type: text/plain\r\n"},
		{"headers", Content{From: from, ContentType: `text/x; a="b\c"`, Headers: []Header{{Name: "X-A", Value: "1"},
			{Name: "In-Reply-To", Value: `a"b`}}},
			"tm.t_uac_start", "Content-Type: text/x; a=\"b\\c\"\r\nX-A: 1\r\nIn-Reply-To: a\"b\r\n"},
		{"!! in From", Content{From: `"wow!!" <sip:r@h>`}, "tm.t_uac_start", "Content-Type: text/plain\r\n"},
		{"!! in body", Content{From: from, Body: []byte("wow!!")}, "tm.t_uac_start", "Content-Type: text/plain\r\n"},
		{"!! in header", Content{From: from, Headers: []Header{{Name: "X-A", Value: "wow!!x"}}}, "imc.send",
			"Content-Type: text/plain\r\nX-A: wow!!x\r\n"},
		{"! in type", Content{From: from, ContentType: "multipart/mixed;boundary=a!b"}, "imc.send",
			"Content-Type: multipart/mixed;boundary=a!b\r\n"},
		{"NUL", Content{From: from, Body: allBytes(0)}, "imc.send", "Content-Type: text/plain\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := mustOutgoing(t, tt.c)
			payload := o.appendCopy(nil, &entry{to: "sip:bob@example.org", callID: "call-1"}, 17, testPeer)
			if n := o.size(len("sip:bob@example.org"), len("call-1"), testPeer); n < len(payload) || n > len(payload)+idDigits {
				t.Errorf("size says %d, it is %d", n, len(payload))
			}
			const dest = "sip:192.0.2.7:5060;transport=tcp"
			led := o.appendCopy(nil, &entry{to: "sip:bob@example.org", callID: "call-1", dest: dest}, 17, testPeer)
			if n := o.size(len("sip:bob@example.org"), len("call-1"), testPeer) + destSize(dest); n < len(led) {
				t.Errorf("size with a destination says %d, it is %d", n, len(led))
			}
			if h := decodeFrame(t, led).headers; strings.Count(h, "X-IMC-Dest: "+dest+"\r\n") != 1 {
				t.Errorf("headers with a destination: %q", h)
			}
			got := decodeFrame(t, payload)
			want := decoded{tt.method, "17", "sip:bob@example.org", "sip:127.0.0.1:5060", tt.c.From,
				"<sip:bob@example.org>", "call-1", "", string(tt.c.Body)}
			if tt.method == "imc.send" {
				want.headers = tt.headers + "X-IMC-Secret: hdr-secret\r\n"
			} else {
				want.headers = "X-IMC-Secret: hdr-secret\r\n" + tt.headers
			}
			if got != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestNewOutgoingRefuses(t *testing.T) {
	t.Parallel()
	from := "<sip:r@h>"
	tests := []struct {
		c    Content
		want string // in the error
	}{
		{Content{}, "From"},
		{Content{From: "sip:r@h"}, "From"},
		{Content{From: "<sip:r@h>;tag=1"}, "From"},
		{Content{From: "\"a\r\nX: y\" <sip:r@h>"}, "From"},
		{Content{From: "\"a\x00\" <sip:r@h>"}, "From"},
		{Content{From: from, ContentType: "text/plain\r\nX: y"}, "ContentType"},
		{Content{From: from, ContentType: "text/plain\nX: y"}, "ContentType"},
		{Content{From: from, Headers: []Header{{Name: "X-A", Value: "b\rc"}}}, "X-A"},
		{Content{From: from, Headers: []Header{{Name: "X-A", Value: "b\nc"}}}, "X-A"},
		{Content{From: from, Headers: []Header{{Name: "X-A", Value: "b\x00c"}}}, "X-A"},
		{Content{From: from, Headers: []Header{{Name: "X-A\r\nX-B", Value: "c"}}}, "X-B"},
		{Content{From: from, Headers: []Header{{Name: "X A", Value: "c"}}}, "X A"},
		{Content{From: from, Headers: []Header{{Name: "X:A", Value: "c"}}}, "X:A"},
		{Content{From: from, Headers: []Header{{Name: "", Value: "c"}}}, "name"},
		{Content{From: from, Headers: []Header{{Name: "call-id", Value: "c"}}}, "call-id"},
		{Content{From: from, Headers: []Header{{Name: "x-imc-SECRET", Value: "c"}}}, "x-imc-SECRET"},
		{Content{From: from, Headers: []Header{{Name: "l", Value: "5"}}}, "l"},
	}
	for _, tt := range tests {
		_, err := NewOutgoing(tt.c)
		if err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, ErrTooLarge) {
			t.Errorf("%+v: error %v does not name %q", tt.c, err, tt.want)
		}
	}
}

func TestNewOutgoingTooLarge(t *testing.T) {
	t.Parallel()
	from := "<sip:r@h>"
	for name, tt := range map[string]struct {
		fits, not Content
	}{
		"plain": {Content{From: from, Body: bytes.Repeat([]byte("x"), 31000)}, Content{From: from,
			Body: bytes.Repeat([]byte("x"), 32200)}},
		"escapes": {Content{From: from, Body: bytes.Repeat([]byte(`"`), 15500)}, Content{From: from,
			Body: bytes.Repeat([]byte(`"`), 16200)}},
		"control": {Content{From: from, Body: bytes.Repeat([]byte("\x01"), 5200)}, Content{From: from,
			Body: bytes.Repeat([]byte("\x01"), 5400)}},
		"base64": {Content{From: from, Body: make([]byte, 23000)}, Content{From: from, Body: make([]byte, 24200)}},
		"headers": {Content{From: from, Headers: []Header{{Name: "X-A", Value: "!" + strings.Repeat("x", 1800)}}},
			Content{From: from, Headers: []Header{{Name: "X-A", Value: "!" + strings.Repeat("x", 2000)}}}},
		"long From": {Content{From: "<sip:" + strings.Repeat("r", 1000) + "@h>", Body: []byte{0}},
			Content{From: "<sip:" + strings.Repeat("r", 1100) + "@h>", Body: []byte{0}}},
	} {
		t.Run(name, func(t *testing.T) {
			o := mustOutgoing(t, tt.fits)
			to := "sip:" + strings.Repeat("b", 150) + "@h.org"
			payload := o.appendCopy(nil, &entry{to: to, callID: strings.Repeat("c", maxCallID)}, maxFrameID, testPeer)
			window := netstring.Append(netstring.Append(nil, payload), appendPing(nil, 1<<63))
			if len(payload) > maxPayload || len(window) > MaxFrame+7 {
				t.Errorf("payload of %d bytes, with ping %d", len(payload), len(window))
			}
			if _, err := NewOutgoing(tt.not); !errors.Is(err, ErrTooLarge) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func FuzzOutgoing(f *testing.F) {
	f.Add("\"Al\" <sip:r@h>", "text/plain", "X-A", "b", []byte("hello"), "sip:b@h", "call", "secret")
	f.Add("<sip:r@h>", "a/b;c=\"d!\"", "X-A", "!!", []byte("a\x00b"), "sip:b@h", "call", "")
	f.Add("\"\\\" <x\" <sip:r@h>", "a/\xff", "X\"", "\\", []byte("\"],\"id\":1}"), "sip:b\"@h", "c\r\nX: y", "s\"")
	f.Fuzz(func(t *testing.T, from, ctype, hname, hvalue string, body []byte, to, callID, secret string) {
		p, err := newPeer("sip:127.0.0.1", secret)
		if err != nil {
			return
		}
		o, err := NewOutgoing(Content{From: from, ContentType: ctype, Headers: []Header{{Name: hname, Value: hvalue}},
			Body: body})
		if err != nil {
			return
		}
		c := Copy{Out: o, To: to, CallID: callID}
		if checkCopy(&c) != nil {
			return
		}
		payload := o.appendCopy(nil, &entry{to: to, callID: callID}, 7, p)
		if n := o.size(len(to), len(callID), p); len(payload) > n {
			t.Fatalf("size %d, payload %d", n, len(payload))
		}
		in := netstring.NewReader(bytes.NewReader(netstring.Append(nil, payload)), MaxFrame*4)
		if got, err := in.Read(); err != nil || !bytes.Equal(got, payload) {
			t.Fatalf("netstring %v", err)
		}
		checkDecoded(t, decodeFrame(t, payload), from, ctype, hname, hvalue, body, to, callID, p)
	})
}

func checkDecoded(t *testing.T, d decoded, from, ctype, hname, hvalue string, body []byte, to, callID string, p *peer) {
	t.Helper()
	if ctype == "" {
		ctype = "text/plain"
	}
	headers := fmt.Sprintf("Content-Type: %s\r\n%s: %s\r\n", ctype, hname, hvalue)
	if d.method == "imc.send" {
		headers += p.plainSecret
	} else {
		headers = p.plainSecret + headers
		if strings.Contains(strings.TrimPrefix(d.headers, p.plainSecret), "!") || bytes.IndexByte(body, 0) >= 0 {
			t.Fatalf("harmed by tm.t_uac_start: %+v", d)
		}
	}
	if d.ruri != to || d.to != "<"+to+">" || d.callID != callID || d.from != from || d.headers != headers ||
		d.body != string(body) {
		t.Fatalf("%+v", d)
	}
	if n := strings.Count(d.headers, "\n"); n != strings.Count(headers, "\r\n") ||
		strings.ContainsAny(d.from+d.to+d.callID, "\r\n\x00") {
		t.Fatalf("injected header in %+v", d)
	}
}

// TestOutgoingForms: an Outgoing has the form of a SIP request, and each of the others only
// once a copy needs it; Size is what it takes then.
func TestOutgoingForms(t *testing.T) {
	t.Parallel()
	from := `"Al" <sip:room@example.org>`
	for name, c := range map[string]Content{
		"short":    {From: from, Body: []byte("hello")},
		"long":     {From: from, Body: bytes.Repeat([]byte("x"), 20000)},
		"escapes":  {From: from, Body: bytes.Repeat([]byte("\x01"), 5000)},
		"imc.send": {From: from, Body: make([]byte, 20000)},
		"headers": {From: from, Headers: []Header{{Name: "X-A", Value: strings.Repeat("x", 1500)}, {Name: "X-B",
			Value: "y"}}},
	} {
		o := mustOutgoing(t, c)
		made := func() (frame, batch bool) { return o.frame.Load() != nil, o.batch.Load() != nil }
		tx := sipTx{out: o, to: "sip:a@h", callID: "id"}
		form := newSIPFormat("127.0.0.1:1", "127.0.0.1:2")
		form.appendRequest(nil, &tx, false)
		b := newOutbox(10, 10)
		b.open(testPeer)
		if err := b.putCopy(Copy{Out: o, To: tx.to, CallID: tx.callID}, false); err != nil {
			t.Fatal(err)
		}
		if frame, batch := made(); frame || batch {
			t.Errorf("%s: other forms although the copy is queued or by SIP: frame %v, batch %v", name, frame, batch)
		}
		shared := o.inBatch()
		if frame, batch := made(); frame || !batch {
			t.Errorf("%s: in a batch: frame %v, batch %v", name, frame, batch)
		}
		size := outgoingBytes + cap(o.rest) + len(o.from)
		p := o.framed()
		most := size + max(cap(shared), cap(p.from)+cap(p.headers)+cap(p.body))
		least := size + len(c.Body)
		if n := o.Size(); n < most-most/4 || n < least || n > 2*most {
			t.Errorf("%s: Size is %d, it takes %d", name, n, most)
		}
	}
}
