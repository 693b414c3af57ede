package engine

import (
	"errors"
	"strings"

	"github.com/emiago/sipgo/sip"

	"imcd/engine/store"
	"imcd/evapi"
	"imcd/evapi/sipmsg"
)

// Content of requests: what kind it is (sipmsg.Kind) decides what becomes of it. Text
// is a command or a message, an attachment is a message, typing goes to those who are
// online and is forgotten, a receipt ends here, and nothing is refused.

// entityOf is the body of a request with the headers that describe it.
func entityOf(req *sip.Request) sipmsg.Entity {
	e := sipmsg.Entity{Body: req.Body()}
	if ct := req.ContentType(); ct != nil {
		e.ContentType = strings.TrimSpace(ct.Value())
	}
	for _, h := range req.Headers() {
		if name, ok := sipmsg.EntityHeader(h.Name()); ok {
			e.Headers = append(e.Headers, sipmsg.Header{Name: name, Value: strings.TrimSpace(h.Value())})
		}
	}
	return e
}

// readContent reads the body of req. What goes on of it is req.body and
// req.contentType.
func (e *Engine) readContent(req *request) *refusal {
	c, err := sipmsg.Read(entityOf(req.msg.Request))
	req.content, req.body, req.contentType = c, c.Entity.Body, c.Entity.ContentType
	switch {
	case errors.Is(err, sipmsg.ErrTooLarge):
		return &refusal{code: 413, rc: rcMessage - rcTooLarge, reason: "Message too large", notice: "too_large",
			vars: vars{"why": "it is too large when it is unpacked"}}
	case err != nil:
		return &refusal{code: 400, rc: rcUnusual, reason: "Bad message: " + clip(err.Error())}
	case c.Kind == sipmsg.Nothing:
		r := &refusal{code: 400, rc: rcUnusual, reason: "Empty message"}
		if c.Entity.IsText() {
			r.notice = "empty_message"
		}
		return r
	}
	return nil
}

// messageID is how the sender's client knows the message.
func (req *request) messageID() string {
	id := req.content.MessageID
	if id == "" {
		id = req.callID
	}
	if len(id) > store.MaxMessageID {
		return ""
	}
	return id
}

// wants are the receipts that the sender's client asks for.
func (req *request) wants() store.Wants {
	var w store.Wants
	for word := range strings.SplitSeq(req.content.Disposition+","+req.marks.wants, ",") {
		switch strings.ToLower(strings.TrimSpace(word)) {
		case "positive-delivery":
			w |= store.WantsDelivered
		case "display":
			w |= store.WantsDisplayed
		}
	}
	return w
}

// rowHeaders are the headers that are stored with the message: its entity headers and
// its marks.
func (req *request) rowHeaders() []evapi.Header {
	var headers []evapi.Header
	for _, h := range req.content.Entity.Headers {
		headers = append(headers, evapi.Header(h))
	}
	if req.marks.auto != "" {
		headers = append(headers, evapi.Header{Name: headerAuto, Value: req.marks.auto})
	}
	if req.marks.path.id != "" {
		headers = append(headers, evapi.Header{Name: headerPath, Value: req.marks.path.String()})
	}
	return headers
}

// storedEntity returns the body of a stored message with the headers that describe it.
func storedEntity(row *store.MessageRow) sipmsg.Entity {
	e := sipmsg.Entity{ContentType: row.ContentType, Body: row.Body}
	for _, h := range row.Headers {
		if _, ok := sipmsg.EntityHeader(h.Name); ok {
			e.Headers = append(e.Headers, h)
		}
	}
	return e
}

// storedText returns the text of a message in UTF-8; ok is false if it is no plain text.
func storedText(row *store.MessageRow) (text string, ok bool) {
	e := storedEntity(row)
	if !e.IsPlain() {
		return "", false
	}
	c, err := sipmsg.Read(e)
	return c.Text, err == nil && c.TextOK
}
