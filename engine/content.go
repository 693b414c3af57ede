package engine

import (
	"strings"

	"github.com/emiago/sipgo/sip"

	"imcd/engine/store"
	"imcd/evapi"
	"imcd/evapi/sipmsg"
)

// messageID is the name of the message at the sender's client.
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

// rowHeaders are the headers that are stored with the message.
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

// headerOf is the value of the first header with one of the names; empty: there is none.
func headerOf(r *sip.Request, names ...string) string {
	for _, h := range r.Headers() {
		for _, name := range names {
			if equalFold(h.Name(), name) {
				return strings.TrimSpace(h.Value())
			}
		}
	}
	return ""
}

// paramOf finds a parameter among those behind a URI.
func paramOf(params, name string) (value string, ok bool) {
	for p := range strings.SplitSeq(params, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if equalFold(strings.TrimSpace(key), name) {
			return strings.Trim(strings.TrimSpace(value), `"`), true
		}
	}
	return "", false
}
