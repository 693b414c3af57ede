package native

import (
	"bytes"
	"compress/zlib"
	"encoding/xml"
	"strconv"
	"time"
)

// ConferenceType is the media type of Conference.
const ConferenceType = "application/conference-info+xml"

// UserState says what a document means by a user.
type UserState uint8

// The states of a user in a document.
const (
	Present UserState = iota // is in the room; in a partial document: has just come
	Changed                  // has another role, or another device; only in a partial document
	Gone                     // has left; only in a partial document
)

// userWords are the words of the states, as clients expect them.
var userWords = [...]string{"full", "partial", "deleted"}

// User is a member in a document.
type User struct {
	URI     string // address of record
	State   UserState
	Admin   bool     // may change members and title; else a participant
	Devices []string // GRUUs, SIP URIs; may be empty
}

// Conference is the state of a room, or a change of it.
type Conference struct {
	Room    string // SIP URI
	Version uint32 // higher than that of the document before it
	Partial bool   // tells of changes alone
	// Title is shown as the name of the room. Empty in a partial document: it has not changed.
	Title string
	At    time.Time // of the change
	Users []User
}

// Append writes c as XML behind dst. Characters that XML does not allow are replaced.
func (c *Conference) Append(dst []byte) []byte {
	b := bytes.NewBuffer(dst)
	state := "full"
	if c.Partial {
		state = "partial"
	}
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n" +
		`<conference-info xmlns="urn:ietf:params:xml:ns:conference-info" entity="`)
	escape(b, c.Room)
	b.WriteString(`" state="` + state + `" version="` + strconv.FormatUint(uint64(c.Version), 10) + `">` +
		`<conference-description>`)
	if c.Title != "" {
		b.WriteString("<subject>")
		escape(b, c.Title)
		b.WriteString("</subject>")
	}
	// Linphone takes this for the time of what has changed.
	b.WriteString("<free-text>" + strconv.FormatInt(c.At.Unix(), 10) + "</free-text></conference-description>")
	if len(c.Users) > 0 || !c.Partial {
		b.WriteString("<users>")
		for i := range c.Users {
			c.Users[i].write(b)
		}
		b.WriteString("</users>")
	}
	b.WriteString("</conference-info>")
	return b.Bytes()
}

func (u *User) write(b *bytes.Buffer) {
	b.WriteString(`<user entity="`)
	escape(b, u.URI)
	b.WriteString(`" state="` + userWords[u.State] + `"`)
	if u.State == Gone {
		b.WriteString("/>")
		return
	}
	role := "participant"
	if u.Admin {
		role = "admin"
	}
	b.WriteString("><roles><entry>" + role + "</entry></roles>")
	for _, d := range u.Devices {
		b.WriteString(`<endpoint entity="`)
		escape(b, d)
		b.WriteString(`" state="full"/>`)
	}
	b.WriteString("</user>")
}

// escape writes text so that it can stand in an element and in an attribute.
func escape(b *bytes.Buffer, text string) { _ = xml.EscapeText(b, []byte(text)) } // a buffer takes everything

// Document is a conference as it is sent. Without a Body there is none.
type Document struct {
	Body     []byte
	Deflated bool // Content-Encoding: deflate
}

// deflateFrom is the size from which on a document is packed, in bytes.
const deflateFrom = 1000

// Pack makes the document of c.
func (c *Conference) Pack() Document {
	body := c.Append(nil)
	if len(body) <= deflateFrom {
		return Document{Body: body}
	}
	return Document{Deflate(body), true}
}

// Deflate packs a document for Content-Encoding deflate.
func Deflate(document []byte) []byte {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	_, _ = w.Write(document) // a buffer takes everything
	_ = w.Close()
	return b.Bytes()
}
