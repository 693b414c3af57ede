package evapi

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// featureContacts says that imc.cfg can read the location table.
const featureContacts = "contacts"

const imcContacts = `{"jsonrpc":"2.0","method":"imc.contacts","params":["`

// MaxWanted is how many users one call of Contacts may be about.
const MaxWanted = 16

// maxWantedURI bounds Wanted.User, in bytes.
const maxWantedURI = 255

// Wanted is a user whose contacts are asked for.
type Wanted struct {
	User string // SIP URI; one that the routing script could not keep is left out
	From int64  // any number that is not negative; Registration.From returns it
}

// ContactsHandler is an optional interface of a Handler that asks for contacts.
type ContactsHandler interface {
	// Found takes what the location table has for a user that Conn.Contacts was asked about. It must not block.
	Found(c *Conn, r Registration)
	// Unheard says that Kamailio has not reported registrations: there was no engine that read, or too much to read.
	// It must not block.
	Unheard(c *Conn)
}

// Contacts asks which contacts users have; the answers come to ContactsHandler, those of users without contacts as
// well. Kamailio leaves an answer out if there is too much to read, and says so (Unheard). It never blocks. The errors
// are ErrDown and ErrFull; a Kamailio that cannot answer, with an older imc.cfg or without IMC_DIRECT, is no error.
func (c *Conn) Contacts(users []Wanted) error {
	payload := []byte(imcContacts)
	for i := range users {
		if w := &users[i]; w.From >= 0 && len(w.User) <= maxWantedURI {
			payload = append(strconv.AppendInt(payload, w.From, 10), ' ')
			payload = append(base64.StdEncoding.AppendEncode(payload, []byte(w.User)), ' ')
		}
	}
	return c.box.putContacts(append(payload, listEnd...))
}

func (b *outbox) putContacts(payload []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.peer == nil:
		return ErrDown
	case !b.peer.contacts:
		return nil
	}
	return b.pushPayload(payload, false)
}

// ContactsEvent is imc.located: a Registration that is not new.
type ContactsEvent struct{ Registration }

func (ContactsEvent) event() {}

// wordsPerContact are those of a contact in imc.located: ruid, seconds that it has been there and will be, URI,
// instance, User-Agent, and where its requests come from.
const wordsPerContact = 7

func decodeContacts(params json.RawMessage) (Event, error) {
	var p struct {
		AOR      *b64
		From     int64
		Hash     string
		Contacts string
		Native   string // RUIDs of those that know group chats
	}
	if err := json.Unmarshal(params, &p); err != nil || p.AOR == nil {
		return nil, badParams(err)
	}
	e := ContactsEvent{Registration{AOR: string(*p.AOR), From: p.From}}
	words, natives := strings.Split(p.Contacts, " "), strings.Fields(p.Native)
	for ; len(words) > wordsPerContact; words = words[wordsPerContact:] {
		d, err := decodeContact(words[:wordsPerContact], p.Hash)
		if err != nil {
			return nil, err
		}
		if slices.Contains(natives, words[0]) {
			d.Specs = groupSpecs
		}
		e.Devices = append(e.Devices, d)
	}
	return e, nil
}

func decodeContact(words []string, hash string) (d Device, err error) {
	d = Device{GRUU: gruu(words[0], hash)}
	for i, to := range []*time.Duration{&d.Since, &d.Left} {
		n, err := strconv.ParseInt(words[1+i], 10, 32)
		if err != nil {
			return d, badParams(err)
		}
		*to = time.Duration(max(n, 0)) * time.Second
	}
	d.Left = min(d.Left, maxLeft)
	for i, to := range []*string{&d.Contact, &d.Instance, &d.Agent, &d.Source} {
		text, err := base64.StdEncoding.DecodeString(words[3+i])
		if err != nil {
			return d, badParams(err)
		}
		*to = string(text)
	}
	d.Instance = strings.Trim(d.Instance, `"<>`)
	if d.Source == "" {
		_, d.Source, _ = strings.Cut(d.Contact, "@") // not behind NAT
		d.Source = "sip:" + d.Source
	}
	d.Source = sourceOf(d.Source)
	return d, nil
}

// sourceOf writes a URI by which Kamailio reaches a contact as Registration.Source; empty: it is no such URI.
func sourceOf(uri string) string {
	rest, ok := strings.CutPrefix(uri, "sip:")
	if !ok {
		return ""
	}
	addr, params, _ := strings.Cut(rest, ";")
	proto := "udp"
	if _, t, ok := strings.Cut(params, "transport="); ok {
		proto, _, _ = strings.Cut(strings.ToLower(t), ";")
	}
	return proto + ":" + addr
}
