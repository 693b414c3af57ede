package live

import (
	"encoding/base64"
	"encoding/json"
	"time"
	"unicode/utf8"

	"imcd/engine"
	"imcd/engine/store"
)

// eventParams are the parameters of imc.event. Those that do not concern an event are
// left out.
type eventParams struct {
	Subscription int       `json:"subscription"`
	Event        string    `json:"event"`
	Time         time.Time `json:"time"`
	Room         string    `json:"room,omitempty"`

	Sender string `json:"sender,omitempty"` // message: SIP URI
	User   string `json:"user,omitempty"`   // join, leave, role: who
	Member string `json:"member,omitempty"` // failure: to whom
	By     string `json:"by,omitempty"`     // who brought it about; missing: the operator

	Seq         uint64 `json:"seq,omitempty"`
	Display     string `json:"display,omitempty"`
	ContentType string `json:"content_type,omitempty"`
	Size        int    `json:"size,omitempty"` // of the body, in bytes
	*bodyParams

	Role     string `json:"role,omitempty"`
	Private  *bool  `json:"private,omitempty"`
	Code     int    `json:"code,omitempty"`
	Reason   string `json:"reason,omitempty"` // failure: the code in words
	Outcome  string `json:"outcome,omitempty"`
	Kamailio string `json:"kamailio,omitempty"`
	Up       *bool  `json:"up,omitempty"`
}

// bodyParams show bytes: as text, or in base64 if they are not UTF-8.
type bodyParams struct {
	Body   string `json:"body"`
	Base64 bool   `json:"base64,omitempty"`
}

func showBody(b []byte) *bodyParams {
	if utf8.Valid(b) {
		return &bodyParams{Body: string(b)}
	}
	return &bodyParams{Body: base64.StdEncoding.EncodeToString(b), Base64: true}
}

// notification is imc.event as it is written.
func (s *subscription) notification(ev *engine.Event) []byte {
	p := eventParams{Subscription: s.id, Event: ev.Kind.String(), Time: ev.Time.UTC(), Room: uri(ev.Room), By: uri(ev.By),
		Seq: ev.Seq, Display: ev.Display, ContentType: ev.ContentType, Size: len(ev.Body),
		Role: ev.Role, Code: ev.Code, Reason: engine.Reason(ev.Code), Outcome: ev.Outcome, Kamailio: ev.Kamailio}
	who := map[engine.EventKind]*string{engine.EventMessage: &p.Sender, engine.EventFailure: &p.Member}[ev.Kind]
	if who == nil {
		who = &p.User
	}
	*who = uri(ev.User)
	switch ev.Kind {
	case engine.EventMessage:
		if s.bodies {
			p.bodyParams = showBody(ev.Body)
		}
	case engine.EventCreated:
		p.Private = &ev.Private
	case engine.EventKamailio:
		p.Up = &ev.Up
	}
	return frame("imc.event", "", p)
}

func uri(n store.Name) string {
	if n.IsZero() {
		return ""
	}
	return n.URI()
}

// frame is a request of imcd's to a client; without id a notification.
func frame(method, id string, params any) []byte {
	b, err := json.Marshal(struct {
		Version string `json:"jsonrpc"`
		ID      string `json:"id,omitempty"`
		Method  string `json:"method"`
		Params  any    `json:"params"`
	}{"2.0", id, method, params})
	if err != nil {
		// Only a time outside of the years 0 to 9999 cannot be marshalled.
		return []byte(`{"jsonrpc":"2.0","method":"` + method + `","params":{}}`)
	}
	return b
}
