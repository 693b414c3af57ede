package sipmsg

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"time"
)

// IMDNType is the media type of receipts (RFC 5438 section 12.5), CPIMType that of the
// format that may hold them (RFC 3862).
const (
	IMDNType = "message/imdn+xml"
	CPIMType = "message/cpim"
)

// IMDNStatus is the state of a message at one of its recipients.
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

// maxMessageID bounds the id of a message.
const maxMessageID = 256

// ParseIMDN reads the XML of a receipt. Elements count by their names alone: clients use a
// prefix, the default namespace, or none. Unknown elements are passed over. An error means
// no XML, more than 16 KB, or no receipt: another root, no usable message-id, no status.
func ParseIMDN(body []byte) (IMDN, error) {
	var n IMDN
	known := false
	err := walkXML(body, func(path []string, text string) error {
		switch {
		case path[0] != "imdn":
			return fmt.Errorf("the root element is %.40q, not imdn", path[0])
		case len(path) > 3 && path[2] == "status" && !known:
			n.Status, known = imdnWords[path[3]], true
		case len(path) != 2:
		case path[1] == "message-id":
			n.MessageID = text
		case path[1] == "datetime":
			n.DateTime, _ = time.Parse(time.RFC3339, text) // zero if malformed
		case path[1] == "recipient-uri":
			n.Recipient = text
		}
		return nil
	})
	switch {
	case err != nil:
	case !isMessageID(n.MessageID):
		err = errors.New("there is no usable message-id")
	case !known:
		err = errors.New("there is no status")
	}
	if err != nil {
		return IMDN{}, fmt.Errorf("reading a receipt: %w", err)
	}
	return n, nil
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
	return wrap(from, to, at, IMDNType+"\r\nContent-Disposition: notification", body)
}

// WrapComposing does the same with an "is typing" (RFC 3994).
func WrapComposing(from, to string, at time.Time, body []byte) []byte {
	return wrap(from, to, at, ComposingType, body)
}

func wrap(from, to string, at time.Time, contentType string, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: <%s>\r\nTo: <%s>\r\nDateTime: %s\r\n\r\n", from, to, at.UTC().Format(time.RFC3339))
	fmt.Fprintf(&b, "Content-Type: %s\r\nContent-Length: %d\r\n\r\n", contentType, len(body))
	b.Write(body)
	return b.Bytes()
}
