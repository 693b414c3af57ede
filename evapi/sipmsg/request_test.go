package sipmsg

import (
	"strings"
	"testing"
)

const plainRequest = "MESSAGE sip:chat-a@example.org SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1\r\n" +
	"From: \"Al\" <sip:al@example.org>;tag=1\r\nTo: <sip:chat-a@example.org>\r\nCall-ID: c1\r\nCSeq: 1 MESSAGE\r\n" +
	"Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"

// request makes a request with the given From line and further lines.
func request(from string, lines ...string) string {
	return "MESSAGE sip:chat-a@example.org SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1\r\n" + from +
		"\r\nTo: <sip:chat-a@example.org>\r\nCall-ID: c1\r\nCSeq: 1 MESSAGE\r\n" +
		strings.Join(append(lines, ""), "\r\n") + "\r\nhello"
}

func TestParseRequestFrom(t *testing.T) {
	t.Parallel()
	tests := []struct{ from, display, uri string }{
		{`From: <sip:al@example.org>;tag=1`, "", "sip:al@example.org"},
		{`From: sip:al@example.org;tag=1`, "", "sip:al@example.org"},
		{`From: sip:al@example.org`, "", "sip:al@example.org"},
		{`f:sip:al@example.org;tag=1`, "", "sip:al@example.org"},
		{`FROM  :   "Al" <sip:al@example.org>  ;  tag = 1`, "Al", "sip:al@example.org"},
		{`From: Al B. <sip:al@example.org>;tag=1`, "Al B.", "sip:al@example.org"},
		{`From: "Al \"the\" B" <sip:al@example.org>;tag=1`, `Al \"the\" B`, "sip:al@example.org"},
		{`From: "Al \\" <sip:al@example.org>;tag=1`, `Al \\`, "sip:al@example.org"},
		{`From: "a <sip:evil@x>; b" <sip:al@example.org>;tag=1`, "a <sip:evil@x>; b", "sip:al@example.org"},
		{`From: "" <sip:al@example.org>`, "", "sip:al@example.org"},
		{"From: \"\xc3\x84l \xff\xfe\" <sip:al@example.org>", "\xc3\x84l \xff\xfe", "sip:al@example.org"},
		{"From: \xc4l <sip:al@example.org>", "\xc4l", "sip:al@example.org"},
		{"From:\r\n \"Al\"\r\n\t<sip:al@example.org>;\r\n tag=1", "Al", "sip:al@example.org"},
		{`From: <sips:al@example.org:5061;transport=tcp?x=y>;tag=1;x="a;b"`, "",
			"sips:al@example.org:5061;transport=tcp?x=y"},
		{`From: <sip:al:pw@[::1]:5060>;tag=1`, "", "sip:al:pw@[::1]:5060"},
		{`From: <sip:example.org>;tag=1`, "", "sip:example.org"},
		{`From: <sip:127.0.0.1:5060>`, "", "sip:127.0.0.1:5060"},
		{`From: <tel:+1-555-1234;phone-context=x>;tag=1`, "", "tel:+1-555-1234;phone-context=x"},
		{`From: tel:+15551234`, "", "tel:+15551234"},
		{`From: <sip:al;x=y@example.org>`, "", "sip:al;x=y@example.org"},
		{`From: <sip:a%20l@example.org>`, "", "sip:a%20l@example.org"},
		{`From: <sip://al@example.org>`, "", "sip://al@example.org"},
		{`From: <SIP:Al@Example.ORG>`, "", "sip:Al@Example.ORG"},
		{`From: "` + strings.Repeat("x", 5000) + `" <sip:al@example.org>`, strings.Repeat("x", 5000), "sip:al@example.org"},
	}
	for _, tt := range tests {
		req, err := ParseRequest([]byte(request(tt.from)))
		if err != nil {
			t.Errorf("%s: %v", tt.from, err)
			continue
		}
		f := req.From()
		if f.DisplayName != tt.display || f.Address.String() != tt.uri {
			t.Errorf("%s: %q %q", tt.from, f.DisplayName, f.Address.String())
		}
	}
	req, err := ParseRequest([]byte(request(`From: <sip://al@example.org>`)))
	if err != nil || req.From().Address.User != "//al" {
		t.Errorf("slashes: user %q, %v", req.From().Address.User, err)
	}
	req, err = ParseRequest([]byte(request(`From: "x" <sip:al@example.org> ; a="b;c" ; tag = 17`)))
	if tag, _ := req.From().Params.Get("tag"); err != nil || tag != "17" {
		t.Errorf("tag %q, %v", tag, err)
	}
}

func TestParseRequestRefusesDoubtfulFrom(t *testing.T) {
	t.Parallel()
	for _, from := range []string{
		"X: y",
		"From:",
		"From: ",
		"From: <>",
		"From: al",
		"From: *",
		"From: <sip:al@example.org",
		"From: \"Al <sip:al@example.org>",
		"From: \"Al\" x <sip:al@example.org>",
		"From: \"Al\"",
		"From: sip:al@example.org;x <sip:eve@example.org>",
		"From: <sip:al@example.org>, <sip:eve@example.org>",
		"From: sip:al@example.org <sip:eve@example.org>",
		"From: <sip:al@example.org><sip:eve@example.org>",
		"From: <sip:al@eve@example.org>",
		"From: <sip:al:b:c@example.org>",
		"From: <sip:al@>",
		"From: <sip:@>",
		"From: <sip://example.org>",
		"From: <sip:al@example.org:70000000000000000000>",
		"From: <sip:al@example.org>\r\nFrom: <sip:eve@example.org>",
		"From: <sip:al@example.org>\r\nf: <sip:eve@example.org>",
	} {
		if req, err := ParseRequest([]byte(request(from))); err == nil {
			t.Errorf("%q: taken for %s", from, req.From().Address.String())
		}
	}
}

func TestParseRequestLegalForms(t *testing.T) {
	t.Parallel()
	from := "From: <sip:al@example.org>;tag=1"
	plain := request(from, "Content-Type: text/plain", "Content-Length: 5")
	var many []string
	for range 1000 {
		many = append(many, "X-Many: "+strings.Repeat("y", 20))
	}
	tests := []struct {
		name, in, body, ctype string
	}{
		{"plain", plain, "hello", "text/plain"},
		{"trailing bytes", plain + "trailing", "hello", "text/plain"},
		{"no Content-Length", request(from, "Content-Type: text/plain"), "hello", "text/plain"},
		{"no Content-Type", request(from), "hello", ""},
		{"compact forms", request(from, "c: text/plain", "l: 5"), "hello", "text/plain"},
		{"type with parameters", request(from, "Content-Type:  text/plain ; charset=\"utf-8\" "), "hello",
			`text/plain ; charset="utf-8"`},
		{"folded", request(from, "Content-Type:\r\n  text/plain;\r\n\tcharset=utf-8"), "hello", "text/plain; charset=utf-8"},
		{"many headers", request(from, many...), "hello", ""},
		{"long header", request(from, "X-Long: "+strings.Repeat("z", 30000)), "hello", ""},
		{"odd headers", request(from, "Contact: <<>>", "Route: x", "Max-Forwards: -7", "Record-Route: \"", "Refer-To: ,",
			"Expires:",
			"Date: \xff\xfe", "X.!%*_+`'~-y: \"<>\\"), "hello", ""},
		{"bad Via", strings.Replace(plain, "SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1", "???", 1), "hello", "text/plain"},
		{"bad CSeq", strings.Replace(plain, "CSeq: 1 MESSAGE", "CSeq: x", 1), "hello", "text/plain"},
		{"bad To", strings.Replace(plain, "To: <sip:chat-a@example.org>", "To: ???", 1), "hello", "text/plain"},
		{"lone LFs", strings.ReplaceAll(plain, "\r\n", "\n"), "hello", "text/plain"},
		{"mixed line ends", strings.Replace(plain, "\r\n", "\n", 3), "hello", "text/plain"},
		{"CR within a line", strings.Replace(plain, "tag=1", "tag=1;x=a\rb", 1), "hello", "text/plain"},
		{"tel", strings.Replace(plain, "MESSAGE sip:chat-a@example.org", "MESSAGE tel:+123", 1), "hello", "text/plain"},
		{"lower-case version", strings.Replace(plain, "SIP/2.0\r\nVia", "sip/2.0\r\nVia", 1), "hello", "text/plain"},
		{"IPv6", strings.Replace(plain, "MESSAGE sip:chat-a@example.org", "MESSAGE sip:chat-a@[2001:db8::1]:5060;lr", 1),
			"hello", "text/plain"},
	}
	for _, tt := range tests {
		req, err := ParseRequest([]byte(tt.in))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		ctype := ""
		if h := req.ContentType(); h != nil {
			ctype = h.Value()
		}
		if string(req.Body()) != tt.body || ctype != tt.ctype || req.From().Address.User != "al" ||
			req.CallID().Value() != "c1" {
			t.Errorf("%s: body %q, type %q, From %s, Call-ID %s", tt.name, req.Body(), ctype, req.From().Value(),
				req.CallID().Value())
		}
	}
	body := "\r\n\r\n\r"
	for b := range 256 {
		body += string([]byte{byte(b)})
	}
	req, err := ParseRequest([]byte(strings.TrimSuffix(request(from), "hello") + body))
	if err != nil || string(req.Body()) != body {
		t.Errorf("bytes: %q, %v", req.Body(), err)
	}
	req, err = ParseRequest([]byte(strings.TrimSuffix(request(from, "Content-Length: 0"), "hello")))
	if err != nil || len(req.Body()) != 0 {
		t.Errorf("no body: %q, %v", req.Body(), err)
	}
}

func TestParseRequestErrors(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"", "\r\n", "\r\n\r\n", "x", "MESSAGE", "SIP/2.0 200 OK\r\n\r\n", plainRequest[:40],
		strings.TrimSuffix(plainRequest, "o"),
		strings.Replace(plainRequest, "Call-ID: c1\r\n", "", 1),
		strings.Replace(plainRequest, "Content-Length: 5", "Content-Length: 5\r\nl: 4", 1),
		strings.Replace(plainRequest, "Content-Length: 5", "Content-Length: -5", 1),
		strings.Replace(plainRequest, "Content-Length: 5", "Content-Length: 5000000000", 1),
		strings.Replace(plainRequest, "CSeq: 1", "no colon\r\nCSeq: 1", 1),
	} {
		if req, err := ParseRequest([]byte(in)); err == nil {
			t.Errorf("%q: %v", in, req)
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add([]byte(plainRequest))
	f.Add([]byte(request("From: \"Al \\\"x\\\"\" <sip:al;x@[::1]:5060;a=b?c=d>;tag=1;x=\"y;z\"")))
	f.Add([]byte(strings.ReplaceAll(request("f: tel:1\r\n ;x", "c:x", "l : 5"), "\r\n", "\n")))
	f.Add([]byte(request("From: sip:a@b;c=d", "Content-Length: 5\rx", "m: <sip:x>,\"", "Route: <")))
	f.Fuzz(func(t *testing.T, in []byte) {
		req, err := ParseRequest(in)
		if (req == nil) != (err != nil) {
			t.Fatalf("%v, %v", req, err)
		}
		if err != nil {
			if strings.Contains(err.Error(), "panic") {
				t.Fatal(err)
			}
			return
		}
		from := req.From()
		if u := from.Address; (u.Scheme == "sip" || u.Scheme == "sips") && (u.Host == "" ||
			strings.ContainsAny(u.User+u.Host, "@\r\n\x00<> ")) {
			t.Fatalf("user %q, host %q", u.User, u.Host)
		}
		if strings.ContainsAny(from.DisplayName, "\r\n") {
			t.Fatalf("display name %q", from.DisplayName)
		}
		if len(req.Body()) > len(in) {
			t.Fatalf("body of %d from %d bytes", len(req.Body()), len(in))
		}
	})
}
