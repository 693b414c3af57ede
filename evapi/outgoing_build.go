package evapi

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
)

const (
	// pingRoom is kept free in every window for its ping, and in the read
	// buffer of Kamailio (MaxFrame) for bytes a kernel may push early.
	pingRoom = 128
	// maxPayload is the largest payload that is written, so that a frame and
	// the ping behind it always fit one read of Kamailio together.
	maxPayload = MaxFrame - pingRoom
	// netstringOverhead is what a netstring adds to a payload, at most.
	netstringOverhead = 7

	// What NewOutgoing assumes of values that only a copy or a connection knows.
	assumedURI    = 160
	assumedCallID = maxCallID
	assumedSecret = 128

	// Limits of Kamailio's uac module, whose fields have fixed sizes. Above
	// them it would send what the field held before.
	maxCallID      = 127
	maxURI         = 1023
	maxSendHeaders = 2047
	maxSendBody    = 32767
)

// SizeError says by how much a MESSAGE is too large. It wraps ErrTooLarge.
type SizeError struct {
	Size, Limit   int // of a copy as it travels, in bytes
	Body, Headers int // their part of it, before it is escaped
}

// Error implements error.
func (e *SizeError) Error() string {
	return fmt.Sprintf("%v: a copy takes up to %d bytes (body %d, headers %d), limit is %d",
		ErrTooLarge, e.Size, e.Body, e.Headers, e.Limit)
}

// Unwrap returns ErrTooLarge.
func (e *SizeError) Unwrap() error { return ErrTooLarge }

const (
	secretHeader = "X-IMC-Secret: "
	destHeader   = "X-IMC-Dest: "
	maxDest      = 100 // of Copy.Dest: an IPv6 address with port and transport has 70
)

// Outgoing is one MESSAGE as all its copies share it: checked, and escaped for
// the wire once. It is immutable and safe for concurrent use.
type Outgoing struct {
	bySend bool // travels as imc.send: tm.t_uac_start would change it

	// tm.t_uac_start: JSON-escaped text before and after what differs.
	head []byte // from `From:` to `To: <`
	tail []byte // headers, body, to `"id":`

	// imc.send
	from    []byte // base64
	headers []byte // plain, each with its CRLF
	body    []byte // base64

	// imc.batch: what all recipients share, from the paramSep before FROM to
	// the one behind BODY. Made when it is first needed.
	content Content
	batch   atomic.Pointer[[]byte]

	sipParts atomic.Pointer[sipParts] // see sip
}

// NewOutgoing checks c and prepares it for the wire. A CR, LF or NUL in From,
// ContentType or a header is an error that names the field, and so is a header
// that Conn or Kamailio writes. The error wraps ErrTooLarge, with the numbers,
// if a copy to a recipient URI of 160 bytes might not fit a frame.
func NewOutgoing(c Content) (*Outgoing, error) {
	if c.ContentType == "" {
		c.ContentType = "text/plain"
	}
	if err := checkContent(&c); err != nil {
		return nil, err
	}
	headers := headerLines(&c)
	// tm.t_uac_start mangles headers with "!", crashes over some, and drops
	// NULs: see the package doc.
	o := &Outgoing{content: c, bySend: strings.IndexByte(headers, '!') >= 0 || hasNUL(c.Body)}
	if o.bySend {
		o.from = base64.StdEncoding.AppendEncode(nil, []byte(c.From))
		o.headers = []byte(headers)
		o.body = base64.StdEncoding.AppendEncode(nil, c.Body)
		if err := checkSendLimits(&c, len(headers)); err != nil {
			return nil, err
		}
	} else {
		o.head = appendJSON(nil, "From: "+c.From+"\r\nTo: <")
		o.tail = appendJSON(make([]byte, 0, len(headers)+len(c.Body)+256), headers)
		o.tail = append(o.tail, `","`...)
		o.tail = appendJSON(o.tail, c.Body)
		o.tail = append(o.tail, `"],"id":`...)
	}
	if n := o.size(assumedURI, assumedCallID, assumedPeer); n > maxPayload {
		return nil, &SizeError{Size: n, Limit: maxPayload, Body: len(c.Body), Headers: len(headers)}
	}
	return o, nil
}

// Origin is what the Content had as Origin: what the message is made of, for
// those who get it another way than over SIP.
func (o *Outgoing) Origin() any { return o.content.Origin }

// FromHost is the host of From's URI, as it stands there.
func (o *Outgoing) FromHost() string {
	from := o.content.From
	uri := strings.TrimSuffix(from[strings.LastIndexByte(from, '<')+1:], ">")
	host := uri[strings.LastIndexByte(uri, '@')+1:]
	if end := strings.IndexAny(host, ";?"); end >= 0 {
		host = host[:end]
	}
	if at := strings.LastIndexByte(host, ':'); at >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:at]
	}
	return host
}

// BodyLen is the length of the body, in bytes.
func (o *Outgoing) BodyLen() int { return len(o.content.Body) }

// headerLines are the headers that come after Call-ID, each with its CRLF.
func headerLines(c *Content) string {
	var b strings.Builder
	b.WriteString("Content-Type: ")
	b.WriteString(c.ContentType)
	b.WriteString("\r\n")
	for _, h := range c.Headers {
		b.WriteString(h.Name)
		b.WriteString(": ")
		b.WriteString(h.Value)
		b.WriteString("\r\n")
	}
	return b.String()
}

func checkSendLimits(c *Content, headers int) error {
	if len(c.From) > maxURI {
		return fmt.Errorf("%w: From has %d bytes, limit is %d", ErrTooLarge, len(c.From), maxURI)
	}
	if n := headers + len(secretHeader) + assumedSecret + 2; n > maxSendHeaders {
		return fmt.Errorf("%w: headers have %d bytes, limit is %d", ErrTooLarge, n, maxSendHeaders)
	}
	if len(c.Body) > maxSendBody {
		return &SizeError{Size: len(c.Body), Limit: maxSendBody, Body: len(c.Body), Headers: headers}
	}
	return nil
}

// checkContent refuses what could add or hide a header.
func checkContent(c *Content) error {
	if err := checkValue("From", c.From); err != nil {
		return err
	}
	// Kamailio adds <> of its own and a tag behind, unless > stands last.
	if open := strings.IndexByte(c.From, '<'); open < 0 || !strings.HasSuffix(c.From, ">") {
		return errors.New("evapi: From: not of the form \"name\" <uri>")
	}
	if err := checkValue("ContentType", c.ContentType); err != nil {
		return err
	}
	for _, h := range c.Headers {
		if !isToken(h.Name) {
			return fmt.Errorf("evapi: header %q: the name is no token", clip(h.Name, 64))
		}
		if isReserved(h.Name) {
			return fmt.Errorf("evapi: header %s: not to be set here", h.Name)
		}
		if err := checkValue("header "+h.Name, h.Value); err != nil {
			return err
		}
	}
	return nil
}

func checkValue(field, value string) error {
	if i := strings.IndexAny(value, "\r\n\x00"); i >= 0 {
		return fmt.Errorf("evapi: %s: byte %q at %d", field, value[i], i)
	}
	return nil
}

// isReserved reports whether Conn or Kamailio writes the header.
func isReserved(name string) bool {
	switch strings.ToLower(name) {
	case "from", "f", "to", "t", "call-id", "i", "cseq", "via", "v",
		"content-type", "c", "content-length", "l", "x-imc-secret", "x-imc-dest":
		return true
	}
	return false
}

func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && strings.IndexByte("-.!%*_+`'~", c) < 0 {
			return false
		}
	}
	return s != ""
}

func hasNUL(b []byte) bool {
	for _, c := range b {
		if c == 0 {
			return true
		}
	}
	return false
}

const hexDigits = "0123456789abcdef"

// appendJSON appends s as the inside of a JSON string. Bytes from 0x80 on stay as
// they are, valid UTF-8 or not: Kamailio hands them through.
func appendJSON[S string | []byte](dst []byte, s S) []byte {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c >= 0x20:
			dst = append(dst, c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return dst
}
