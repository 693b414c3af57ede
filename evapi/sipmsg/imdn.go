package sipmsg

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// IMDNType is the media type of receipts (RFC 5438 section 12.5), CPIMType that of the
// format that may hold them (RFC 3862).
const (
	IMDNType = "message/imdn+xml"
	CPIMType = "message/cpim"
)

// IMDNStatus says what became of a message at one of its recipients.
type IMDNStatus uint8

// The statuses of a receipt.
const (
	IMDNOther     IMDNStatus = iota // <processed/>, <stored/>, <forbidden/>, or one that is not known
	IMDNDelivered                   // the recipient's device has it
	IMDNDisplayed                   // it was shown to the recipient
	IMDNFailed                      // <failed/> or <error/>: the device could not make use of it
)

// imdnWords are the elements of the statuses that have a meaning here.
var imdnWords = map[string]IMDNStatus{
	"delivered": IMDNDelivered, "displayed": IMDNDisplayed, "failed": IMDNFailed, "error": IMDNFailed,
}

// String is the element's name of a status; "other" for IMDNOther.
func (s IMDNStatus) String() string {
	switch s {
	case IMDNDelivered:
		return "delivered"
	case IMDNDisplayed:
		return "displayed"
	case IMDNFailed:
		return "failed"
	}
	return "other"
}

// IMDN is a receipt, an instant message disposition notification (RFC 5438).
type IMDN struct {
	// MessageID names the message: its CPIM Message-ID, or its Call-ID where it was
	// not in CPIM. Not empty, at most 256 bytes, printable ASCII without spaces.
	MessageID string
	Status    IMDNStatus
	DateTime  time.Time // when the message was sent; zero if not known
	Recipient string    // URI of the recipient; may be empty
}

const (
	// maxIMDN bounds the XML of a receipt, maxIMDNDepth the elements in each other.
	maxIMDN      = 16 << 10
	maxIMDNDepth = 16
	// maxMessageID bounds the id of a message.
	maxMessageID = 256
)

// ParseIMDN reads the XML of a receipt. Elements count by their names alone: clients
// use a prefix, the default namespace, or none. What is not known is passed over. An
// error means that it is no XML, longer than 16 KB, or no receipt: another root, no
// usable message-id, no status.
func ParseIMDN(body []byte) (IMDN, error) {
	if len(body) > maxIMDN {
		return IMDN{}, fmt.Errorf("reading a receipt: %d bytes are more than %d", len(body), maxIMDN)
	}
	r := imdnReader{d: xml.NewDecoder(bytes.NewReader(body))}
	r.d.CharsetReader = asciiOnly // entities other than XML's own five are an error
	if err := r.read(); err != nil {
		return IMDN{}, fmt.Errorf("reading a receipt: %w", err)
	}
	return r.found, nil
}

// asciiOnly takes charsets of which UTF-8 is a superset, as far as they are ASCII: the
// decoder refuses anything else in them.
func asciiOnly(charset string, in io.Reader) (io.Reader, error) {
	switch strings.ToLower(charset) {
	case "us-ascii", "ascii", "iso-8859-1", "iso-8859-15", "windows-1252":
		return in, nil
	}
	return nil, fmt.Errorf("charset %.20q is not known", charset)
}

// imdnReader walks over a receipt.
type imdnReader struct {
	d     *xml.Decoder
	path  []string // local names of the open elements
	found IMDN
	text  strings.Builder // of the innermost open element, if it is a leaf of the root
	done  bool            // the root has ended
	know  bool            // there was a status
}

func (r *imdnReader) read() error {
	for {
		token, err := r.d.Token()
		if errors.Is(err, io.EOF) {
			return r.finish()
		}
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.StartElement:
			if err := r.start(t.Name.Local); err != nil {
				return err
			}
		case xml.EndElement:
			r.end()
		case xml.CharData:
			if len(r.path) == 2 {
				r.text.Write(t)
			}
		}
	}
}

func (r *imdnReader) start(name string) error {
	switch {
	case r.done:
		return errors.New("a second root element")
	case len(r.path) == 0 && name != "imdn":
		return fmt.Errorf("the root element is %.40q, not imdn", name)
	case len(r.path) == maxIMDNDepth:
		return errors.New("too many elements in each other")
	case len(r.path) == 3 && r.path[2] == "status" && !r.know:
		r.found.Status, r.know = imdnWords[name], true
	}
	r.path = append(r.path, name)
	r.text.Reset()
	return nil
}

func (r *imdnReader) end() {
	if len(r.path) == 2 {
		text := strings.TrimSpace(r.text.String())
		switch r.path[1] {
		case "message-id":
			r.found.MessageID = text
		case "datetime":
			r.found.DateTime, _ = time.Parse(time.RFC3339, text) // zero is right for what is no time
		case "recipient-uri":
			r.found.Recipient = text
		}
	}
	r.path = r.path[:len(r.path)-1]
	r.done = len(r.path) == 0
}

func (r *imdnReader) finish() error {
	switch {
	case !r.done:
		return errors.New("there is no XML element")
	case !isMessageID(r.found.MessageID):
		return errors.New("there is no usable message-id")
	case !r.know:
		return errors.New("there is no status")
	}
	return nil
}

func isMessageID(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= maxMessageID
}

// FormatIMDN writes a receipt with the status delivered, displayed or failed, in the order
// that the schema of RFC 5438 section 11 asks for. DateTime is left empty if it is zero.
func FormatIMDN(n IMDN) []byte {
	var b bytes.Buffer
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<imdn xmlns="urn:ietf:params:xml:ns:imdn">` + "\n")
	element := func(name, text string) {
		b.WriteString("<" + name + ">")
		_ = xml.EscapeText(&b, []byte(text)) // a buffer takes everything
		b.WriteString("</" + name + ">\n")
	}
	element("message-id", n.MessageID)
	at := ""
	if !n.DateTime.IsZero() {
		at = n.DateTime.UTC().Format(time.RFC3339)
	}
	element("datetime", at)
	if n.Recipient != "" {
		element("recipient-uri", n.Recipient)
	}
	kind := "delivery-notification"
	if n.Status == IMDNDisplayed {
		kind = "display-notification"
	}
	b.WriteString("<" + kind + "><status><" + n.Status.String() + "/></status></" + kind + ">\n</imdn>\n")
	return b.Bytes()
}

// WrapIMDN puts the XML of a receipt into a message/cpim body (RFC 5438 section 7.2.1.1).
// from and to are URIs without angle brackets or line ends.
func WrapIMDN(from, to string, at time.Time, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: <%s>\r\nTo: <%s>\r\nDateTime: %s\r\n\r\n", from, to, at.UTC().Format(time.RFC3339))
	fmt.Fprintf(&b, "Content-Type: %s\r\nContent-Disposition: notification\r\nContent-Length: %d\r\n\r\n",
		IMDNType, len(body))
	b.Write(body)
	return b.Bytes()
}
