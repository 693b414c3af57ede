package evapi

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"imcd/evapi/sipmsg"
)

// Header is one header field of an outgoing request.
type Header = sipmsg.Header

// Content is the part of an outgoing MESSAGE that all copies share.
type Content struct {
	Method      string   // empty: MESSAGE; NOTIFY, INVITE or BYE, which only go by LaneSIP
	From        string   // name-addr: `"Al" <sip:room@example.org>`; no tag
	ContentType string   // empty: text/plain
	Headers     []Header // added as they are; no From, To, Call-ID, Content-Length, Content-Type
	Body        []byte   // bytes, NUL included
	Origin      any      // not sent: for Outgoing.Origin; may be nil
}

const (
	// Limits of Kamailio's uac module, whose fields have fixed sizes. Above them it would
	// send the earlier contents of a field.
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

// Outgoing is one MESSAGE as all its copies share it: checked, and in the form of a SIP
// request. Frames for Kamailio's evapi have other forms, which are made when a copy needs
// them first. An Outgoing is immutable and safe for concurrent use.
type Outgoing struct {
	method  string // empty: MESSAGE
	from    string // From of a request, between sipFrom and sipTag
	rest    []byte // of a request: from Content-Type on
	headers int    // bytes of rest that are the header lines after Call-ID, without Content-Length
	body    int    // bytes of rest that are the body, its end
	origin  any    // see Origin

	bySend  bool // its frame is imc.send: tm.t_uac_start would change it
	escaped int  // length of From, header lines and body as the insides of JSON strings

	frame atomic.Pointer[frameParts] // see framed
	batch atomic.Pointer[[]byte]     // see inBatch
}

// NewOutgoing checks c and prepares it for the wire. A CR, LF or NUL in From, ContentType
// or a header is an error that names the field, and so is a header that Conn or Kamailio
// writes. The error wraps ErrTooLarge, with the numbers, if a copy to a recipient URI of
// 160 bytes might not fit a frame.
func NewOutgoing(c Content) (*Outgoing, error) {
	if c.ContentType == "" {
		c.ContentType = "text/plain"
	}
	if err := checkContent(&c); err != nil {
		return nil, err
	}
	o := newOutgoing(&c)
	if !o.isMessage() {
		return o, o.checkDatagram()
	}
	// tm.t_uac_start damages headers with "!", crashes over some, and drops NULs: see the
	// package doc.
	if o.bySend = bytes.IndexByte(o.headerLines(), '!') >= 0 || bytes.IndexByte(c.Body, 0) >= 0; o.bySend {
		if err := o.checkSendLimits(); err != nil {
			return nil, err
		}
	}
	if n := o.size(assumedURI, assumedCallID, assumedPeer); n > maxPayload {
		return nil, &SizeError{Size: n, Limit: maxPayload, Body: len(c.Body), Headers: o.headers}
	}
	return o, nil
}

const (
	sipFrom      = "\r\nFrom: "
	sipTag       = ";tag="
	typeHeader   = "Content-Type: "
	lengthHeader = "Content-Length: "
	lengthDigits = 6 // of a body that fits a frame
)

// newOutgoing puts the SIP request together.
func newOutgoing(c *Content) *Outgoing {
	o := &Outgoing{method: c.Method, from: sipFrom + c.From + sipTag, body: len(c.Body), origin: c.Origin}
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

// fromValue is Content.From.
func (o *Outgoing) fromValue() string { return o.from[len(sipFrom) : len(o.from)-len(sipTag)] }

// headerLines are the headers that come after Call-ID, each with its CRLF.
func (o *Outgoing) headerLines() []byte { return o.rest[:o.headers] }

func (o *Outgoing) bodyBytes() []byte { return o.rest[len(o.rest)-o.body:] }

// outgoingBytes is the memory of an Outgoing beside its text, about.
const outgoingBytes = 256

// Size returns how much of imcd's memory the Outgoing takes at most, about, in bytes: its
// text as a SIP request, and once more in the larger one of the forms for frames. Origin
// does not count.
func (o *Outgoing) Size() int {
	text := len(o.from) + len(o.rest)
	framed := base64.StdEncoding.EncodedLen(text)
	if !o.bySend {
		framed = max(framed, o.escaped)
	}
	return outgoingBytes + text + framed
}

// Origin returns Content.Origin: the source of the message, for receivers that do not get
// it over SIP.
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

// Method is the method of the request.
func (o *Outgoing) Method() string {
	if o.isMessage() {
		return "MESSAGE"
	}
	return o.method
}

// BodyLen is the length of the body, in bytes.
func (o *Outgoing) BodyLen() int { return o.body }

// checkSendLimits refuses a message that does not fit the fields of Kamailio's uac module.
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

// checkContent refuses a value that could add or hide a header.
func checkContent(c *Content) error {
	if !slices.Contains(otherMethods, c.Method) {
		return fmt.Errorf("evapi: Method %.32q is not MESSAGE, NOTIFY, INVITE or BYE", c.Method)
	}
	if err := checkValue("From", c.From); err != nil {
		return err
	}
	// Kamailio adds <> of its own, and a tag after it, unless > stands last.
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

// isReserved reports whether Conn or Kamailio writes the header.
func isReserved(name string) bool {
	switch strings.ToLower(name) {
	case "from", "f", "to", "t", "call-id", "i", "cseq", "via", "v",
		"content-type", "c", "content-length", "l", "x-imc-secret", "x-imc-dest":
		return true
	}
	return false
}
