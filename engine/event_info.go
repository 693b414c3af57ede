package engine

import (
	"encoding/base64"
	"time"
	"unicode/utf8"

	"imcd/engine/store"
)

// EventInfo is an Event as clients get it, as JSON. Fields that do not concern its kind are left out.
type EventInfo struct {
	Event string    `json:"event"`
	Time  time.Time `json:"time"`
	Room  string    `json:"room,omitempty"`  // SIP URI
	Title string    `json:"title,omitempty"` // missed: of the room

	Sender string `json:"sender,omitempty"` // message, missed: SIP URI
	User   string `json:"user,omitempty"`   // join, leave, role, act, missed: who, or *@domain
	Member string `json:"member,omitempty"` // failure: to whom
	By     string `json:"by,omitempty"`     // who brought it about; missing: the operator

	Seq         uint64 `json:"seq,omitempty"`
	Count       uint64 `json:"count,omitempty"` // missed: messages
	Display     string `json:"display,omitempty"`
	ContentType string `json:"content_type,omitempty"`
	Size        int    `json:"size,omitempty"` // of the body, in bytes
	*BodyInfo

	Act      string     `json:"act,omitempty"`   // as in ActInfo
	Until    *time.Time `json:"until,omitempty"` // act; nil: it has no end
	Why      string     `json:"why,omitempty"`   // act
	Role     string     `json:"role,omitempty"`
	Private  *bool      `json:"private,omitempty"`
	Code     int        `json:"code,omitempty"`
	Reason   string     `json:"reason,omitempty"` // failure, missed: the code in words
	Outcome  string     `json:"outcome,omitempty"`
	Kamailio string     `json:"kamailio,omitempty"`
	Up       *bool      `json:"up,omitempty"`
}

// BodyInfo shows the bytes of a message: as text, or in base64 if they are not UTF-8.
type BodyInfo struct {
	Body   string `json:"body"`
	Base64 bool   `json:"base64,omitempty"`
}

// ShowBody returns the body of a message as BodyInfo.
func ShowBody(b []byte) *BodyInfo {
	if utf8.Valid(b) {
		return &BodyInfo{Body: string(b)}
	}
	return &BodyInfo{Body: base64.StdEncoding.EncodeToString(b), Base64: true}
}

// Info returns ev as clients get it; bodies: with what was said.
func (ev *Event) Info(bodies bool) EventInfo {
	i := EventInfo{Event: ev.Kind.String(), Time: ev.Time.UTC(), Room: ShowURI(ev.Room), Title: ev.Title,
		By:  ShowURI(ev.By),
		Seq: ev.Seq, Count: ev.Count, Display: ev.Display, ContentType: ev.ContentType, Size: len(ev.Body), Act: ev.Act,
		Why: ev.Why, Role: ev.Role, Code: ev.Code, Reason: Reason(ev.Code), Outcome: ev.Outcome, Kamailio: ev.Kamailio}
	user := ShowURI(ev.User)
	switch ev.Kind {
	case EventMessage:
		i.Sender = user
		if bodies {
			i.BodyInfo = ShowBody(ev.Body)
		}
	case EventFailure:
		i.Member = user
	case EventAct:
		i.User = ev.Whom
		if !ev.Until.IsZero() {
			until := ev.Until.UTC()
			i.Until = &until
		}
	default:
		i.User = user
	}
	switch ev.Kind {
	case EventCreated:
		i.Private = &ev.Private
	case EventKamailio:
		i.Up = &ev.Up
	}
	return i
}

// ShowURI returns a name as a URI; empty for nobody.
func ShowURI(n store.Name) string {
	if n.IsZero() {
		return ""
	}
	return n.URI()
}
