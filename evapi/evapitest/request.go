package evapitest

import (
	"bytes"
	"fmt"
	"strings"
)

// Request is a SIP request that a UA sends. Empty fields get what is usual.
type Request struct {
	Method      string
	URI         string
	From        string   // the whole value, without tag; empty: the UA's name and AOR
	To          string   // a URI; empty: URI
	ToTag       string   // of a dialog; may be empty
	CallID      string   //
	CSeq        int      //
	ContentType string   //
	Headers     []string // lines without line end
	Body        []byte   //
}

// fillRequest puts usual values into empty fields.
func (u *UA) fillRequest(r *Request) {
	if r.From == "" {
		r.From = "<" + u.AOR() + ">"
		if name := u.cfg.DisplayName; name != "" {
			r.From = quote(name) + " " + r.From
		}
	}
	orString(&r.To, r.URI)
	orString(&r.CallID, newToken())
	orInt(&r.CSeq, 1)
	if len(r.Body) > 0 {
		orString(&r.ContentType, "text/plain")
	}
}

// render is the request as it goes over the wire.
func (u *UA) render(r *Request, branch, tag, authorization string) []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) {
		fmt.Fprintf(&b, format, args...)
		b.WriteString("\r\n")
	}
	line("%s %s SIP/2.0", r.Method, r.URI)
	line("Via: SIP/2.0/%s %s;branch=%s;rport", strings.ToUpper(u.cfg.Transport), u.link.localAddr(), branch)
	line("Max-Forwards: 70")
	line("From: %s;tag=%s", r.From, tag)
	if r.ToTag == "" {
		line("To: <%s>", r.To)
	} else {
		line("To: <%s>;tag=%s", r.To, r.ToTag)
	}
	line("Call-ID: %s", r.CallID)
	line("CSeq: %d %s", r.CSeq, r.Method)
	if authorization != "" {
		line("%s", authorization)
	}
	for _, h := range r.Headers {
		line("%s", h)
	}
	if r.ContentType != "" {
		line("Content-Type: %s", r.ContentType)
	}
	line("Content-Length: %d", len(r.Body))
	line("")
	b.Write(r.Body)
	return b.Bytes()
}

// quote makes a display name a quoted-string.
func quote(name string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
}

// unquote takes the backslashes out of a quoted-string's content.
func unquote(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
