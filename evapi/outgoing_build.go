package evapi

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
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

// Outgoing is one MESSAGE as all its copies share it: checked, and in the form that it
// has as a SIP request. Frames for Kamailio's evapi have forms of their own, which are
// made when a copy needs them first. It is immutable and safe for concurrent use.
type Outgoing struct {
	from    string // From of a request, with what stands around it: see sipFrom and sipTag
	rest    []byte // of a request: from Content-Type on
	headers int    // bytes of rest that are the header lines after Call-ID, without Content-Length
	body    int    // bytes of rest that are the body, its end
	origin  any    // see Origin

	bySend  bool // its frame is imc.send: tm.t_uac_start would change it
	escaped int  // length of From, header lines and body as the insides of JSON strings

	frame atomic.Pointer[frameParts] // see framed
	batch atomic.Pointer[[]byte]     // what all recipients of an imc.batch share; see inBatch
}

// frameParts are the parts of a frame with one copy that all copies share.
type frameParts struct {
	from    []byte // JSON: from `From:` to `To: <`; imc.send: base64
	headers []byte // JSON: with the body behind it, to `"id":`; imc.send: nil
	body    []byte // imc.send: base64
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
	o := newOutgoing(&c)
	// tm.t_uac_start mangles headers with "!", crashes over some, and drops
	// NULs: see the package doc.
	if o.bySend = bytes.IndexByte(o.headerLines(), '!') >= 0 || hasNUL(c.Body); o.bySend {
		if err := o.checkSendLimits(); err != nil {
			return nil, err
		}
	}
	if n := o.size(assumedURI, assumedCallID, assumedPeer); n > maxPayload {
		return nil, &SizeError{Size: n, Limit: maxPayload, Body: len(c.Body), Headers: o.headers}
	}
	return o, nil
}

// newOutgoing puts the SIP form together.
func newOutgoing(c *Content) *Outgoing {
	o := &Outgoing{from: sipFrom + c.From + sipTag, body: len(c.Body), origin: c.Origin}
	size := len(typeHeader) + len(c.ContentType) + len("\r\n") + len(c.Body) +
		len(lengthHeader) + lengthDigits + len("\r\n\r\n")
	for i := range c.Headers {
		size += len(c.Headers[i].Name) + len(": ") + len(c.Headers[i].Value) + len("\r\n")
	}
	b := append(make([]byte, 0, size), typeHeader...)
	b = append(append(b, c.ContentType...), "\r\n"...)
	for i := range c.Headers {
		b = append(append(b, c.Headers[i].Name...), ": "...)
		b = append(append(b, c.Headers[i].Value...), "\r\n"...)
	}
	o.headers = len(b)
	o.escaped = escapedLen(c.From) + escapedLen(b) + escapedLen(c.Body)
	b = strconv.AppendInt(append(b, lengthHeader...), int64(len(c.Body)), 10)
	o.rest = append(append(b, "\r\n\r\n"...), c.Body...)
	return o
}

const (
	typeHeader   = "Content-Type: "
	lengthHeader = "Content-Length: "
	lengthDigits = 6 // of a body that fits a frame
)

// fromValue is From, as Content had it.
func (o *Outgoing) fromValue() string { return o.from[len(sipFrom) : len(o.from)-len(sipTag)] }

// headerLines are the headers that come after Call-ID, each with its CRLF.
func (o *Outgoing) headerLines() []byte { return o.rest[:o.headers] }

func (o *Outgoing) bodyBytes() []byte { return o.rest[len(o.rest)-o.body:] }

// framed returns the shared parts of a frame with one copy.
func (o *Outgoing) framed() *frameParts {
	if p := o.frame.Load(); p != nil {
		return p
	}
	p := &frameParts{}
	if enc := base64.StdEncoding; o.bySend {
		p.from = enc.AppendEncode(nil, []byte(o.fromValue()))
		p.body = enc.AppendEncode(nil, o.bodyBytes())
	} else {
		p.from = append(appendJSON([]byte(jsonFrom), o.fromValue()), jsonTo...)
		p.headers = appendJSON(make([]byte, 0, o.escaped+len(jsonBody)+len(jsonID)), o.headerLines())
		p.headers = append(p.headers, jsonBody...)
		p.headers = appendJSON(p.headers, o.bodyBytes())
		p.headers = append(p.headers, jsonID...)
	}
	o.frame.Store(p)
	return p
}

// What stands between the shared parts of tm.t_uac_start.
const (
	jsonFrom = `From: `
	jsonTo   = `\r\nTo: <`
	jsonBody = `","`
	jsonID   = `"],"id":`
)

// outgoingBytes is what an Outgoing takes beside its text, about.
const outgoingBytes = 256

// Size is what the Outgoing takes of imcd's memory, in bytes, at most and about: its text
// as a SIP request, and once more in the larger form of those for frames. Origin is not in it.
func (o *Outgoing) Size() int {
	text := len(o.from) + len(o.rest)
	framed := base64.StdEncoding.EncodedLen(text)
	if !o.bySend {
		framed = max(framed, o.escaped)
	}
	return outgoingBytes + text + framed
}

// Origin is what the Content had as Origin: what the message is made of, for
// those who get it another way than over SIP.
func (o *Outgoing) Origin() any { return o.origin }

// FromHost is the host of From's URI, as it stands there.
func (o *Outgoing) FromHost() string {
	from := o.fromValue()
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
func (o *Outgoing) BodyLen() int { return o.body }

// checkSendLimits sees that it fits the fields of Kamailio's uac module.
func (o *Outgoing) checkSendLimits() error {
	if n := len(o.fromValue()); n > maxURI {
		return fmt.Errorf("%w: From has %d bytes, limit is %d", ErrTooLarge, n, maxURI)
	}
	if n := o.headers + len(secretHeader) + assumedSecret + 2; n > maxSendHeaders {
		return fmt.Errorf("%w: headers have %d bytes, limit is %d", ErrTooLarge, n, maxSendHeaders)
	}
	if o.body > maxSendBody {
		return &SizeError{Size: o.body, Limit: maxSendBody, Body: o.body, Headers: o.headers}
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
			return fmt.Errorf("evapi: header %.64q: the name is no token", h.Name)
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

// escapedLen is the length of s as appendJSON appends it.
func escapedLen[S string | []byte](s S) int {
	n := len(s)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\' || c == '\n' || c == '\r' || c == '\t':
			n++
		case c < 0x20:
			n += len(`\u00xx`) - 1
		}
	}
	return n
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
