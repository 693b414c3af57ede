package sipmsg

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kind is how content is to be treated.
type Kind uint8

// The kinds of content.
const (
	Text       Kind = iota + 1 // written by a person: text/*
	Receipt                    // message/imdn+xml, RFC 5438
	Typing                     // application/im-iscomposing+xml, RFC 3994
	Attachment                 // any other type
	Nothing                    // no body, or only characters that nobody sees
)

var kindNames = [...]string{Text: "text", Receipt: "receipt", Typing: "typing", Attachment: "attachment",
	Nothing: "nothing"}

// String names the kind in a word.
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return "unknown"
}

// Header is one header field.
type Header struct{ Name, Value string }

// Entity is a body with the headers that describe it (RFC 3261 section 7.4.1).
type Entity struct {
	ContentType string   // as it was sent; may be empty, which is text/plain
	Headers     []Header // the other entity headers, under their full names (EntityHeader)
	Body        []byte
}

// entityHeaders are the headers beside Content-Type and Content-Length that describe a body.
// Never changed.
var entityHeaders = []string{"Content-Encoding", "Content-Transfer-Encoding", "Content-Disposition",
	"Content-Language", "Content-ID", "MIME-Version"}

// EntityHeader returns the full name of a header if it belongs to the body and is
// neither Content-Type nor Content-Length. The compact form of Content-Encoding is
// known, too.
func EntityHeader(name string) (string, bool) {
	if name == "e" || name == "E" {
		return "Content-Encoding", true
	}
	for _, known := range entityHeaders {
		if strings.EqualFold(name, known) {
			return known, true
		}
	}
	return "", false
}

// Get returns the value of a header, several of that name joined by commas; empty if
// there is none.
func (e *Entity) Get(name string) string {
	value := ""
	for _, h := range e.Headers {
		switch {
		case !strings.EqualFold(h.Name, name):
		case value == "":
			value = h.Value
		default:
			value += ", " + h.Value
		}
	}
	return value
}

// without returns the headers but those with one of the names, in a new slice.
func (e *Entity) without(names ...string) []Header {
	var left []Header
next:
	for _, h := range e.Headers {
		for _, name := range names {
			if strings.EqualFold(h.Name, name) {
				continue next
			}
		}
		left = append(left, h)
	}
	return left
}

// IsText reports whether the type of the content is text/*, or missing, and no
// protocol of programs.
func (e *Entity) IsText() bool {
	return strings.HasPrefix(mediaType(e.ContentType), "text/") && kindOf(e.ContentType) == Text
}

// IsPlain reports whether the type of the content is text/plain, or missing.
func (e *Entity) IsPlain() bool { return mediaType(e.ContentType) == "text/plain" }

// Content is the result of Read.
type Content struct {
	Kind Kind

	// Entity goes on to others: out of its CPIM wrapper, and as UTF-8 if it is text in a rare
	// encoding or charset. Its body may share the memory of Read's argument.
	Entity Entity
	// Text is Entity's body in UTF-8, without a byte order mark; only for the kind Text. Empty
	// if it cannot be decoded. It may have any characters, and bytes that are no UTF-8
	// although the sender named that charset.
	Text string
	// TextOK says that bytes of ASCII may be put before and behind Entity's body.
	TextOK bool

	CPIM        bool      // it came in a CPIM wrapper
	MessageID   string    // imdn.Message-ID of the wrapper; may be empty
	Disposition string    // imdn.Disposition-Notification of the wrapper; may be empty
	DateTime    time.Time // DateTime of the wrapper; zero if missing or wrong
	Extensions  []Header  // of the wrapper, see CPIM.Extensions

	IMDN      *IMDN      // of a Receipt, the first one; nil if it cannot be read
	More      []IMDN     // further ones in the same body (multipart/*)
	Composing *Composing // of Typing; nil if it cannot be read
}

// Read wraps these errors with the cause.
var (
	// ErrMalformed: a CPIM wrapper that cannot be read. If it were passed on, each receiver
	// would complain.
	ErrMalformed = errors.New("malformed content")
	// ErrTooLarge: text that is longer than MaxText once it is decoded.
	ErrTooLarge = errors.New("content too large")
)

// MaxText is how long text may be once it is decoded, in bytes. No SIP MESSAGE may be
// as long.
const MaxText = 128 << 10

// maxWrappers is how many CPIM wrappers may stand in each other.
const maxWrappers = 2

// Read finds the kind of e and reads it. Content.Kind and Content.Entity are set even if
// there is an error.
func Read(e Entity) (Content, error) {
	c := Content{Entity: e, Kind: kindOf(e.ContentType)}
	for wrappers := 0; mediaType(c.Entity.ContentType) == "message/cpim"; wrappers++ {
		if wrappers == maxWrappers {
			return c, fmt.Errorf("%w: CPIM in CPIM", ErrMalformed)
		}
		body, err := decode(&c.Entity)
		if err != nil {
			return c, fmt.Errorf("%w: message/cpim: %w", ErrMalformed, err)
		}
		wrapper, err := ParseCPIM(body)
		if err != nil {
			return c, fmt.Errorf("%w: message/cpim: %w", ErrMalformed, err)
		}
		c.unwrap(&wrapper)
	}
	return c, c.read()
}

// unwrap goes on with the content of a wrapper.
func (c *Content) unwrap(w *CPIM) {
	c.Entity, c.Kind, c.CPIM = w.Content, kindOf(w.Content.ContentType), true
	if id := w.IMDN("Message-ID"); id != "" {
		c.MessageID = id
	}
	if wants := w.IMDN("Disposition-Notification"); wants != "" {
		c.Disposition = wants
	}
	if !w.DateTime.IsZero() {
		c.DateTime = w.DateTime
	}
	if list := w.Extensions(); list != nil {
		c.Extensions = list
	}
}

// read sets the fields that depend on the kind of Entity.
func (c *Content) read() error {
	switch c.Kind {
	case Receipt:
		if body, err := decode(&c.Entity); err == nil {
			if imdn, err := ParseIMDN(body); err == nil {
				c.IMDN = &imdn
			}
		}
	case Typing:
		if body, err := decode(&c.Entity); err == nil {
			if composing, err := ParseComposing(body); err == nil {
				c.Composing = &composing
			}
		}
	case Text:
		return c.readText()
	default:
		if len(c.Entity.Body) == 0 {
			c.Kind = Nothing
		} else if list, ok := readReceipts(&c.Entity); ok {
			c.Kind = Receipt
			if len(list) > 0 {
				c.IMDN, c.More = &list[0], list[1:]
			}
		}
	}
	return nil
}

// kindOf is the kind of content that has a body.
func kindOf(contentType string) Kind {
	switch t := mediaType(contentType); t {
	case "text/plain":
		return Text
	case "message/imdn+xml", "application/imdn+xml":
		return Receipt
	case "application/im-iscomposing+xml", "message/im-iscomposing+xml",
		"text/x-msmsgscontrol": // Windows Messenger's, and of clients that learnt from it
		return Typing
	default:
		if strings.HasPrefix(t, "text/") {
			return Text
		}
		return Attachment
	}
}
