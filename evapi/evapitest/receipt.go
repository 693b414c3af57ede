package evapitest

import (
	"bytes"
	"compress/zlib"
	"encoding/xml"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/emiago/sipgo/sip"
)

// ReceiptForm is how a receipt (RFC 5438) is put into a MESSAGE.
type ReceiptForm int

// The forms that clients use.
const (
	PlainReceipt    ReceiptForm = iota // message/imdn+xml
	CPIMReceipt                        // the same in message/cpim
	DeflatedReceipt                    // the same with Content-Encoding: deflate
)

// ReceiptStatus is the status in a receipt.
type ReceiptStatus string

// The statuses of RFC 5438 that clients send.
const (
	Delivered ReceiptStatus = "delivered"
	Displayed ReceiptStatus = "displayed"
	Failed    ReceiptStatus = "failed"
)

// cpimMessageID finds the message-id that a CPIM message asks a receipt for.
var cpimMessageID = regexp.MustCompile(`(?im)^imdn\.Message-ID:[ \t]*([^\r\n]+)`)

// NewReceipt is the request by which owner, a SIP URI, acknowledges a MESSAGE, as
// liblinphone does: to From of the message, naming the message-id of its CPIM or else
// its Call-ID. The error is ErrNoCallID, or that of the compression.
func NewReceipt(form ReceiptForm, status ReceiptStatus, owner string, message *sip.Request) (Request, error) {
	from, callID := message.From(), message.CallID()
	if from == nil || callID == nil {
		return Request{}, ErrNoCallID
	}
	id := callID.Value()
	if ct := message.ContentType(); ct != nil && ct.Value() == "message/cpim" {
		if m := cpimMessageID.FindSubmatch(message.Body()); m != nil {
			id = string(m[1])
		}
	}
	return ReceiptFor(form, status, owner, from.Address.Addr(), id)
}

// ReceiptFor is NewReceipt for the message-id id of a message that came from uri.
func ReceiptFor(form ReceiptForm, status ReceiptStatus, owner, uri, id string) (Request, error) {
	kind := "delivery"
	if status == Displayed {
		kind = "display"
	}
	var named bytes.Buffer
	if err := xml.EscapeText(&named, []byte(id)); err != nil {
		return Request{}, fmt.Errorf("receipt for %q: %w", id, err)
	}
	body := fmt.Appendf(nil, `<?xml version="1.0" encoding="UTF-8" standalone="no" ?>
<imdn xmlns="urn:ietf:params:xml:ns:imdn">
  <message-id>%s</message-id>
  <datetime>%s</datetime>
  <%s-notification>
    <status>
      <%s/>
    </status>
  </%[3]s-notification>
</imdn>
`, named.Bytes(), time.Now().UTC().Format(time.RFC3339), kind, status)
	r := Request{
		Method:      "MESSAGE",
		URI:         uri,
		ContentType: "message/imdn+xml",
		Body:        body,
		Headers:     []string{"Priority: non-urgent", "Expires: 0"},
	}
	switch form {
	case CPIMReceipt:
		r.ContentType = "message/cpim"
		r.Body = fmt.Appendf(nil, "From: <%s>\r\nTo: <%s>\r\nDateTime: %s\r\nNS: imdn <urn:ietf:params:imdn>\r\n"+
			"imdn.Message-ID: r-%s\r\n\r\nContent-Disposition: notification\r\nContent-Type: message/imdn+xml\r\n"+
			"Content-Length: %d\r\n\r\n%s", owner, uri, time.Now().UTC().Format(time.RFC3339), newToken(), len(body),
			body)
	case DeflatedReceipt:
		var z bytes.Buffer
		w := zlib.NewWriter(&z)
		if _, err := w.Write(body); err != nil {
			return Request{}, fmt.Errorf("deflate a receipt: %w", err)
		}
		if err := w.Close(); err != nil {
			return Request{}, fmt.Errorf("deflate a receipt: %w", err)
		}
		r.Body = z.Bytes()
		r.Headers = append(r.Headers, "Content-Encoding: deflate")
	}
	return r, nil
}

func itoa(n int) string { return strconv.Itoa(n) }
