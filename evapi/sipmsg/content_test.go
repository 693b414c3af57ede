package sipmsg

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
)

const imdnDelivered = `<?xml version="1.0" encoding="UTF-8"?>
<imdn xmlns="urn:ietf:params:xml:ns:imdn">
<message-id>34jk324j</message-id>
<datetime>2026-04-04T12:16:49-05:00</datetime>
<delivery-notification><status><delivered/></status></delivery-notification>
</imdn>`

const composingActive = `<?xml version="1.0" encoding="UTF-8"?>
<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing">
<state>active</state><contenttype>text/plain</contenttype><refresh>60</refresh></isComposing>`

func packed(t testing.TB, s string, open func(io.Writer) io.WriteCloser) []byte {
	t.Helper()
	var b bytes.Buffer
	w := open(&b)
	if _, err := w.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zlibbed(t testing.TB, s string) []byte {
	return packed(t, s, func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) })
}

func gzipped(t testing.TB, s string) []byte {
	return packed(t, s, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })
}

func deflated(t testing.TB, s string) []byte {
	return packed(t, s, func(w io.Writer) io.WriteCloser {
		f, err := flate.NewWriter(w, flate.BestCompression)
		if err != nil {
			t.Fatal(err)
		}
		return f
	})
}

func utf16(t testing.TB, s string, order unicode.Endianness, bom unicode.BOMPolicy) []byte {
	t.Helper()
	b, err := unicode.UTF16(order, bom).NewEncoder().Bytes([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func utf32Of2(t testing.TB, s string, order utf32.Endianness, bom utf32.BOMPolicy) []byte {
	t.Helper()
	b, err := utf32.UTF32(order, bom).NewEncoder().Bytes([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func encodedAs(value string) []Header { return []Header{{"Content-Encoding", value}} }
func transfer(value string) []Header  { return []Header{{"Content-Transfer-Encoding", value}} }

func TestRead(t *testing.T) {
	t.Parallel()
	const text = "#list grüße"
	tests := []struct {
		name   string
		in     Entity
		kind   Kind
		text   string
		inside bool   // prefixed in place
		ctype  string // of what goes on; as it came if empty
	}{
		{name: "plain", in: Entity{ContentType: "text/plain", Body: []byte(text)}, kind: Text, text: text,
			inside: true},
		{name: "no type", in: Entity{Body: []byte(text)}, kind: Text, text: text, inside: true},
		{name: "parameters", in: Entity{ContentType: `Text/PLAIN ;; Charset = "UTF-8" ; format=flowed`,
			Body: []byte(text)},
			kind: Text, text: text, inside: true},
		{name: "no UTF-8", in: Entity{Body: []byte("gr\xfc\xdfe")}, kind: Text, text: "gr\xfc\xdfe", inside: true},
		{name: "latin 1", in: Entity{ContentType: "text/plain; charset=ISO-8859-1",
			Body: []byte("gr\xfc\xdfe")}, kind: Text,
			text: "grüße", inside: true},
		{name: "latin 9", in: Entity{ContentType: "text/plain; charset=iso-8859-15", Body: []byte("\xa4")},
			kind: Text, text: "€", inside: true},
		{name: "windows", in: Entity{ContentType: "text/plain; charset=windows-1252", Body: []byte("\x80")},
			kind: Text, text: "€", inside: true},
		{name: "koi8", in: Entity{ContentType: "text/plain; charset=koi8-r", Body: []byte("\xd0")}, kind: Text,
			text: "п", inside: true},
		{name: "own name", in: Entity{ContentType: "text/plain; charset=phone", Body: []byte(text)},
			kind: Text, text: text, inside: true},
		{name: "own binary", in: Entity{ContentType: "text/plain; charset=phone", Body: []byte("a\x00b")}, kind: Text},
		{name: "BOM", in: Entity{Body: []byte("\ufeff#list")}, kind: Text, text: "#list", inside: true},
		{name: "UTF-16LE", in: Entity{ContentType: "text/plain;charset=UTF-16LE", Body: utf16(t, text,
			unicode.LittleEndian, unicode.IgnoreBOM)},
			kind: Text, text: text, inside: true, ctype: utf8Text},
		{name: "UTF-16BE", in: Entity{ContentType: "text/plain;charset=utf-16be", Body: utf16(t, text,
			unicode.BigEndian, unicode.IgnoreBOM)},
			kind: Text, text: text, inside: true, ctype: utf8Text},
		{name: "UTF-16 without mark", in: Entity{ContentType: "text/plain;charset=utf-16", Body: utf16(t, text,
			unicode.LittleEndian, unicode.IgnoreBOM)},
			kind: Text, text: text, inside: true, ctype: utf8Text},
		{name: "UTF-16 with mark", in: Entity{ContentType: "text/plain;charset=utf-16", Body: utf16(t, text,
			unicode.LittleEndian, unicode.UseBOM)},
			kind: Text, text: text, inside: true, ctype: utf8Text},
		{name: "bytes like a mark", in: Entity{ContentType: "text/plain", Body: []byte("\xff\xfehello\xc3")},
			kind: Text, text: "\xff\xfehello\xc3", inside: true},
		{name: "UTF-16 by its mark", in: Entity{ContentType: "text/plain", Body: utf16(t, text,
			unicode.BigEndian, unicode.UseBOM)},
			kind: Text, text: text, inside: true, ctype: utf8Text},
		{name: "UTF-32", in: Entity{ContentType: "text/plain;charset=utf-32", Body: utf32Of2(t, text,
			utf32.LittleEndian, utf32.IgnoreBOM)},
			kind: Text, text: text, inside: true, ctype: utf8Text},
		{name: "UTF-32BE with mark", in: Entity{ContentType: "text/plain", Body: utf32Of2(t, text,
			utf32.BigEndian, utf32.UseBOM)},
			kind: Text, text: text, inside: true, ctype: utf8Text},
		{name: "EBCDIC", in: Entity{ContentType: "text/plain;charset=IBM037", Body: []byte{0xc8, 0x85, 0x93,
			0x93, 0x96}},
			kind: Text, text: "Hello", inside: true, ctype: utf8Text},
		{name: "zlib", in: Entity{Headers: encodedAs("deflate"), Body: zlibbed(t, text)}, kind: Text,
			text: text, inside: true, ctype: utf8Text},
		{name: "bare deflate", in: Entity{Headers: encodedAs(" Deflate "), Body: deflated(t, text)},
			kind: Text, text: text, inside: true,
			ctype: utf8Text},
		{name: "gzip", in: Entity{Headers: encodedAs("gzip"), Body: gzipped(t, text)}, kind: Text, text: text,
			inside: true, ctype: utf8Text},
		{name: "identity", in: Entity{Headers: encodedAs("identity"), Body: []byte(text)}, kind: Text,
			text: text, inside: true},
		{name: "unknown encoding", in: Entity{Headers: encodedAs("br"), Body: []byte("\x0b")}, kind: Text},
		{name: "no deflate", in: Entity{Headers: encodedAs("deflate"), Body: []byte("hello")}, kind: Text},
		{name: "twice", in: Entity{Headers: encodedAs("deflate, gzip"), Body: gzipped(t, string(zlibbed(t,
			text)))}, kind: Text, text: text,
			inside: true, ctype: utf8Text},
		{name: "too often", in: Entity{Headers: encodedAs("gzip, gzip, gzip, gzip"), Body: gzipped(t, text)},
			kind: Text},
		{name: "base64", in: Entity{Headers: transfer("Base64"),
			Body: []byte(base64.StdEncoding.EncodeToString([]byte(text))[:10] + "\r\n" +
				base64.StdEncoding.EncodeToString([]byte(text))[10:])}, kind: Text, text: text, inside: true,
			ctype: utf8Text},
		{name: "quoted", in: Entity{Headers: transfer("quoted-printable"),
			Body: []byte("gr=C3=BC=C3=\r\n=9Fe")}, kind: Text, text: "grüße",
			inside: true, ctype: utf8Text},
		{name: "8bit", in: Entity{Headers: transfer("8bit"), Body: []byte(text)}, kind: Text, text: text, inside: true},
		{name: "html", in: Entity{ContentType: "text/html", Body: []byte("<b>x</b>")}, kind: Text, text: "<b>x</b>"},

		{name: "receipt", in: Entity{ContentType: "message/imdn+xml", Body: []byte(imdnDelivered)}, kind: Receipt},
		{name: "packed receipt", in: Entity{ContentType: "Message/IMDN+XML", Headers: encodedAs("deflate"),
			Body: zlibbed(t, imdnDelivered)},
			kind: Receipt},
		{name: "broken receipt", in: Entity{ContentType: "message/imdn+xml", Body: []byte("<")}, kind: Receipt},
		{name: "typing", in: Entity{ContentType: "application/im-iscomposing+xml",
			Body: []byte(composingActive)}, kind: Typing},
		{name: "packed typing", in: Entity{ContentType: "application/im-iscomposing+xml; charset=utf-8",
			Headers: encodedAs("gzip"),
			Body:    gzipped(t, composingActive)}, kind: Typing},
		{name: "Messenger's typing", in: Entity{ContentType: "text/x-msmsgscontrol",
			Body: []byte("TypingUser: al\r\n")}, kind: Typing},
		{name: "picture", in: Entity{ContentType: "image/png", Body: []byte("\x89PNG")}, kind: Attachment},
		{name: "odd type", in: Entity{ContentType: "???", Body: []byte("x")}, kind: Attachment},

		{name: "nothing", in: Entity{}, kind: Nothing},
		{name: "no picture", in: Entity{ContentType: "image/png"}, kind: Nothing},
		{name: "white", in: Entity{Body: []byte(" \r\n\t\u00a0")}, kind: Nothing},
		{name: "without width", in: Entity{Body: []byte("\u200b\ufeff\u200f\u2060\ufe0f")}, kind: Nothing},
		{name: "nothing, packed", in: Entity{Headers: encodedAs("deflate"), Body: zlibbed(t, " ")}, kind: Nothing},
		{name: "nothing in UTF-16", in: Entity{ContentType: "text/plain;charset=utf-16", Body: []byte{0, ' '}},
			kind: Nothing},
		{name: "empty and encoded", in: Entity{Headers: encodedAs("br")}, kind: Nothing},
	}
	for _, tt := range tests {
		was := bytes.Clone(tt.in.Body)
		c, err := Read(tt.in)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if c.Kind != tt.kind || tt.kind == Text && (c.Text != tt.text || c.TextOK != tt.inside) {
			t.Errorf("%s: %v %q in place %v", tt.name, c.Kind, c.Text, c.TextOK)
		}
		switch {
		case tt.ctype == "" && (c.Entity.ContentType != tt.in.ContentType || !bytes.Equal(c.Entity.Body, was) ||
			len(c.Entity.Headers) != len(tt.in.Headers)):
			t.Errorf("%s: goes on as %+v", tt.name, c.Entity)
		case tt.ctype != "" && (c.Entity.ContentType != tt.ctype || string(c.Entity.Body) != tt.text ||
			len(c.Entity.Headers) != 0):
			t.Errorf("%s: goes on as %+v", tt.name, c.Entity)
		}
		if !bytes.Equal(tt.in.Body, was) {
			t.Errorf("%s: the body was changed", tt.name)
		}
		if strings.HasPrefix(tt.name, "packed") && c.IMDN == nil && c.Composing == nil {
			t.Errorf("%s: not read", tt.name)
		}
	}
}

func TestOtherHeadersStay(t *testing.T) {
	t.Parallel()
	c, err := Read(Entity{ContentType: "text/plain", Body: zlibbed(t, "hi"), Headers: []Header{
		{"Content-Encoding", "deflate"}, {"Content-Language", "de"}, {"Content-ID", "<1@x>"}}})
	if err != nil || string(c.Entity.Body) != "hi" || len(c.Entity.Headers) != 2 ||
		c.Entity.Get("content-language") != "de" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestTextHasABound(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", MaxText)
	for _, tt := range []struct {
		name string
		in   Entity
		err  error
	}{
		{"just fits", Entity{Headers: encodedAs("deflate"), Body: zlibbed(t, long)}, nil},
		{"zlib", Entity{Headers: encodedAs("deflate"), Body: zlibbed(t, long+"x")}, ErrTooLarge},
		{"deflate", Entity{Headers: encodedAs("deflate"), Body: deflated(t, long+"x")}, ErrTooLarge},
		{"gzip", Entity{Headers: encodedAs("gzip"), Body: gzipped(t, strings.Repeat("x", 100*MaxText))}, ErrTooLarge},
		{"gzip of gzip", Entity{Headers: encodedAs("gzip, gzip"), Body: gzipped(t, string(gzipped(t,
			strings.Repeat(long, 100))))}, ErrTooLarge},
		{"base64", Entity{Headers: transfer("base64"),
			Body: []byte(base64.StdEncoding.EncodeToString([]byte(long + "x")))}, ErrTooLarge},
		{"latin 1", Entity{ContentType: "text/plain;charset=latin1", Body: bytes.Repeat([]byte{0xff},
			MaxText)}, ErrTooLarge},
	} {
		if c, err := Read(tt.in); !errors.Is(err, tt.err) || c.Kind != Text {
			t.Errorf("%s: %v, %v", tt.name, c.Kind, err)
		}
	}
	if c, err := Read(Entity{ContentType: "message/imdn+xml", Headers: encodedAs("gzip"), Body: gzipped(t,
		strings.Repeat(" ", 100*MaxText))}); err != nil ||
		c.Kind != Receipt || c.IMDN != nil {
		t.Errorf("a receipt: %v, %v", c, err)
	}
}

func TestEntityHeader(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"e": "Content-Encoding", "content-id": "Content-ID",
		"mime-VERSION": "MIME-Version",
		"Content-Type": "", "Content-Length": "", "X-IMC-Path": "", "Date": ""} {
		if got, ok := EntityHeader(in); got != want || ok != (want != "") {
			t.Errorf("%s: %q", in, got)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("text/plain;charset=utf-16", "deflate", "", zlibbed(f, "\x00#\x00l"))
	f.Add("message/cpim", "", "base64", []byte("RnJvbTog"))
	f.Add("message/imdn+xml", "gzip", "", gzipped(f, imdnDelivered))
	f.Add("application/im-iscomposing+xml", "", "", []byte(composingActive))
	f.Add("multipart/mixed;boundary=---1", "", "", []byte(severalIMDN))
	f.Add("message/cpim", "", "", []byte("From: <sip:a@b>\r\n\r\nContent-Type: message/cpim\r\n\r\nFrom: x\n\n\nhi"))
	f.Fuzz(func(t *testing.T, ctype, enc, cte string, body []byte) {
		c, err := Read(Entity{ContentType: ctype, Headers: []Header{{"Content-Encoding", enc},
			{"Content-Transfer-Encoding", cte}}, Body: body})
		if c.Kind < Text || c.Kind > Nothing {
			t.Fatalf("kind %d", c.Kind)
		}
		if len(c.Text) > MaxText || len(c.Entity.Body) > max(MaxText, len(body)) {
			t.Fatalf("%d and %d bytes", len(c.Text), len(c.Entity.Body))
		}
		if err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTooLarge) {
			t.Fatal(err)
		}
		for _, h := range c.Entity.Headers {
			if c.CPIM && strings.ContainsAny(h.Name+h.Value, "\r\n\x00") {
				t.Fatalf("header %q", h)
			}
		}
		if c.CPIM && strings.ContainsAny(c.Entity.ContentType+c.MessageID+c.Disposition, "\r\n\x00") {
			t.Fatalf("%q %q %q", c.Entity.ContentType, c.MessageID, c.Disposition)
		}
	})
}
