package sipmsg

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

const linphoneCPIM = `From: <sip:alice@chat.test>
To: <sip:chat-a@chat.test>
DateTime: 2026-11-28T12:00:00Z
NS: imdn <urn:ietf:params:imdn>
imdn.Message-ID: H1
imdn.Disposition-Notification: positive-delivery, negative-delivery, display

Content-Type: text/plain; charset=UTF-8
Content-Length: 5

#list`

func TestParseCPIM(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in    string
		id, wants   string
		ctype, body string
	}{
		{"Linphone", crlf(linphoneCPIM), "H1", "positive-delivery, negative-delivery, display",
			"text/plain; charset=UTF-8", "#list"},
		{"line feeds", linphoneCPIM, "H1", "positive-delivery, negative-delivery, display",
			"text/plain; charset=UTF-8", "#list"},
		{"Content-Length", crlf(linphoneCPIM) + "\r\n\r\n", "H1",
			"positive-delivery, negative-delivery, display", "text/plain; charset=UTF-8", "#list"},
		{"other prefix",
			"From: a\nNS: n <urn:ietf:params:imdn>\nn.Message-ID: H2\n\nContent-type: text/plain\n\nhi", "H2", "",
			"text/plain", "hi"},
		{"no prefix", "From: a\nNS: <urn:ietf:params:imdn>\nMessage-ID: H2\n\nContent-type: text/plain\n\nhi",
			"H2", "", "text/plain", "hi"},
		{"not declared", "From: a\nimdn.Message-ID: H2\n\nContent-type: text/plain\n\nhi", "H2", "",
			"text/plain", "hi"},
		{"somebody else's", "NS: imdn <urn:example>\nimdn.Message-ID: H2\n\nContent-type: text/plain\n\nhi",
			"", "", "text/plain", "hi"},
		{"folded", "From: a\n b\nimdn.Message-ID:\n H2\n\nContent-type: text/plain;\n\tcharset=utf-8\n\nhi",
			"H2", "", "text/plain; charset=utf-8", "hi"},
		{"several blocks",
			"From: a\nTo: b\n\nNS: imdn <urn:ietf:params:imdn>\nimdn.Message-ID: H2\n\nContent-Type: text/plain\n\nhi", "H2", "",
			"text/plain", "hi"},
		{"empty line first", "\r\nFrom: a\r\n\r\nContent-Type: text/plain\r\n\r\nhi", "", "", "text/plain", "hi"},
		{"no headers of content", "From: a\r\n\r\n\r\nhi\r\nthere", "", "", "", "hi\r\nthere"},
		{"no block of content", "From: a\r\n\r\nhi there\r\n\r\nyou", "", "", "", "hi there\r\n\r\nyou"},
		{"text like a header", "From: a\r\n\r\nnote: this\r\n\r\nyou", "", "", "", "note: this\r\n\r\nyou"},
		{"empty body", "From: a\r\n\r\nContent-Type: text/plain\r\n\r\n", "", "", "text/plain", ""},
		{"escapes", `imdn.Message-ID: a\u0062\"\\c` + "\n\nContent-Type: text/plain\n\nhi", `ab"\c`, "",
			"text/plain", "hi"},
		{"escaped line end", `imdn.Message-ID: a\r\nb\u000dc` + "\n\nContent-Type: text/plain\n\nhi", "a  b c",
			"", "text/plain", "hi"},
		{"only headers", "From: a\n\n", "", "", "", ""},
		{"no end of headers", "From: a", "", "", "", ""},
	}
	for _, tt := range tests {
		c, err := ParseCPIM([]byte(tt.in))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if c.IMDN("Message-ID") != tt.id || c.IMDN("disposition-notification") != tt.wants ||
			c.Content.ContentType != tt.ctype ||
			string(c.Content.Body) != tt.body {
			t.Errorf("%s: %q %q %q %q", tt.name, c.IMDN("Message-ID"), c.IMDN("Disposition-Notification"),
				c.Content.ContentType, c.Content.Body)
		}
	}
	c, err := ParseCPIM([]byte("From: a\nDateTime: 2026-11-28T12:00:00Z\n\nContent-Type: " +
		"image/png\nContent-Disposition: attachment; filename=\"a b\"\n" +
		"content-transfer-encoding: base64\nX: y\n\nAA=="))
	if err != nil || len(c.Content.Headers) != 2 ||
		c.Content.Get("Content-Disposition") != `attachment; filename="a b"` ||
		!c.DateTime.Equal(time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestParseCPIMErrors(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"empty":             "",
		"white":             "\r\n\r\n",
		"text":              "hello there",
		"packed":            "\x78\x9c\xf3\x48",
		"too many headers":  strings.Repeat("a.b: c\n", maxCPIMHeaders+1) + "\n\n",
		"headers too long":  "From: " + strings.Repeat("x", maxCPIMHead) + "\n\n\nhi",
		"folded from start": " From: a\n\nhi",
	} {
		if c, err := ParseCPIM([]byte(in)); err == nil {
			t.Errorf("%s: taken for %+v", name, c)
		}
	}
	if _, err := ParseCPIM([]byte(strings.Repeat("a.b: c\n", maxCPIMHeaders) + "\n\nhi")); err != nil {
		t.Error("as many headers as may be: ", err)
	}
}

func TestReadUnwraps(t *testing.T) {
	t.Parallel()
	wrap := func(s string) string { return "From: a\r\n\r\nContent-Type: message/cpim\r\n\r\n" + s }
	for _, tt := range []struct {
		name, in string
		kind     Kind
		err      error
	}{
		{"text", linphoneCPIM, Text, nil},
		{"receipt",
			"From: a\n\nContent-Type: message/imdn+xml\nContent-Disposition: notification\n\n" + imdnDelivered, Receipt, nil},
		{"typing", "From: a\n\nContent-Type: application/im-iscomposing+xml\n\n" + composingActive, Typing, nil},
		{"picture", "From: a\n\nContent-Type: image/png\n\nPNG", Attachment, nil},
		{"nothing", "From: a\n\nContent-Type: text/plain\n\n \r\n", Nothing, nil},
		{"twice", wrap(linphoneCPIM), Text, nil},
		{"three times", wrap(wrap(linphoneCPIM)), Attachment, ErrMalformed},
		{"no CPIM", "hello", Attachment, ErrMalformed},
	} {
		c, err := Read(Entity{ContentType: "Message/CPIM", Body: []byte(tt.in)})
		if c.Kind != tt.kind || !errors.Is(err, tt.err) {
			t.Errorf("%s: %v, %v", tt.name, c.Kind, err)
		}
		if err == nil && !c.CPIM {
			t.Errorf("%s: not marked as unwrapped", tt.name)
		}
	}
	c, err := Read(Entity{ContentType: "message/cpim", Headers: encodedAs("deflate"), Body: zlibbed(t, linphoneCPIM)})
	if err != nil || c.Text != "#list" || c.MessageID != "H1" || !strings.Contains(c.Disposition, "display") ||
		!c.TextOK || len(c.Entity.Headers) != 0 {
		t.Errorf("packed: %+v, %v", c, err)
	}
}

func TestExtensions(t *testing.T) {
	t.Parallel()
	const ns = "NS: l <http://www.linphone.org/xsds/imdn.xsd>\n"
	for in, want := range map[string][]Header{
		"From: a\nSubject: x\nNS: imdn <urn:ietf:params:imdn>\nimdn.Message-ID: H\n": nil,
		ns:                                      nil,
		ns + "l.Time: 60\nimdn.Message-ID: H\n": {{"NS", "l <http://www.linphone.org/xsds/imdn.xsd>"}, {"l.Time", "60"}},
		"From: a\n\n" + ns + "l.To:\n a\n\tb\n": {{"NS", "l <http://www.linphone.org/xsds/imdn.xsd>"}, {"l.To", "a b"}},
		`l.A: \u0041\\` + "\n":                  {{"l.A", `\u0041\\`}},
		"NS: n <urn:ietf:params:imdn>\nn.Message-ID: H\nIMDN.x: y\nNS: <urn:x>\nx: y\n.a: b\n": nil,
	} {
		for _, in := range []string{in, crlf(in)} {
			c, err := Read(Entity{ContentType: "message/CPIM", Body: []byte(in + "\nContent-Type: text/plain\n\nhi")})
			if err != nil || !slices.Equal(c.Extensions, want) {
				t.Errorf("%q: %q, %v", in, c.Extensions, err)
			}
		}
	}
}

func FuzzParseCPIM(f *testing.F) {
	f.Add([]byte(linphoneCPIM))
	f.Add([]byte(crlf(linphoneCPIM)))
	f.Add([]byte("NS: n <urn:ietf:params:imdn>\nn.Message-ID: \\u0000\\\n x\n\nSubject:;lang=fr x\n\n\nhi"))
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := ParseCPIM(in)
		if err != nil {
			return
		}
		if len(c.Headers) > maxCPIMHeaders || len(c.Content.Body) > len(in) {
			t.Fatalf("%d headers, body of %d from %d", len(c.Headers), len(c.Content.Body), len(in))
		}
		for _, h := range append(c.Headers, c.Content.Headers...) {
			if strings.ContainsAny(h.Name+h.Value, "\r\n\x00") {
				t.Fatalf("%q", h)
			}
		}
		c.IMDN("Message-ID")
		// What is passed on is read there as it was here.
		list := c.Extensions()
		again := "From: <sip:a@b>\r\n"
		for _, h := range list {
			again += h.Name + ": " + h.Value + "\r\n"
		}
		if len(list) == maxCPIMHeaders || len(again) > maxCPIMHead-2 {
			return
		}
		next, err := ParseCPIM([]byte(again + "\r\nContent-Type: text/plain\r\n\r\nhi"))
		if err != nil || !slices.Equal(next.Extensions(), list) || string(next.Content.Body) != "hi" {
			t.Fatalf("%q become %q, %q, %v", list, next.Extensions(), next.Content.Body, err)
		}
	})
}
