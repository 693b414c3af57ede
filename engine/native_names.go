package engine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

// Linphone says in headers of CPIM that a message is a reply or a reaction, was forwarded, or disappears after a while.
// These go to the other Linphones as they are. But a reply names a message by its Message-ID, and that differs: each
// member knows a message by the Call-ID of its copy, and its author by the Message-ID that it was sent with. So a name
// is stored in such a way that each member gets the one that it knows.

const (
	// headerCPIM is a header of a stored message that has one of CPIM, for native devices alone.
	headerCPIM = "X-IMC-CPIM"
	// headerNames is the same of one whose value names a message: its name, a colon, and messageName.
	headerNames = "X-IMC-CPIM-Names"
	// maxExtensions bounds those of a message, in bytes; beyond it goes without.
	maxExtensions = 2 << 10
	// maxNamed bounds the messages of a room whose names at their authors are known, after a start those since then.
	// Others are looked up in the store (namesFirst).
	maxNamed = 256
	// maxNamesRead bounds the messages that are looked at for one that the sender names by its own name for it.
	maxNamesRead = 10_000
	// nameTimeout is the deadline of looking it up. What is not found by then goes on as it came.
	nameTimeout = time.Second
)

// namedMessage is a message as the devices of its author know it.
type namedMessage struct {
	seq    uint64
	author uint64 // hash64 of the author's key
	id     string // Message-ID
}

// nameMessage notes a message whose author has native devices.
func (r *room) nameMessage(row *store.MessageRow) {
	if row.MessageID == "" || !isPrintable(row.MessageID) {
		return
	}
	if len(r.named) >= maxNamed {
		r.named = slices.Delete(r.named, 0, 1)
	}
	r.named = append(r.named, namedMessage{row.Seq, hash64(row.Sender.Key()), row.MessageID})
}

// messageName is how everybody knows a message: "COPIES AUTHOR ID". COPIES is what the Call-IDs of its copies begin
// with, up to the hash of the member; AUTHOR is that of its author, who knows it by ID. Both are empty if that is not
// known.
func (c *call) messageName(id string) string {
	own, known := hash64(c.me.key), c.room.named
	if row := c.req.found; row != nil && row.Seq > 0 {
		known = append(slices.Clip(known), namedMessage{row.Seq, hash64(row.Sender.Key()), row.MessageID})
	}
	for _, n := range slices.Backward(known) {
		if n.author == own && n.id == id {
			return fmt.Sprintf("%s%s-%d-%s", c.shard.delivery.prefix, strconv.FormatInt(c.room.id, 36), n.seq, n.words())
		}
	}
	name, ok := parseCopyID(id)
	if !ok || name.room != c.room.id || name.hash != own || !isPrintable(id) {
		return ""
	}
	copies := id[:strings.LastIndexByte(id, '-')+1]
	for _, n := range known {
		if n.seq == name.seq {
			return copies + n.words()
		}
	}
	return copies + "  "
}

// namesFirst looks up the message that the one of this call names, if that is not known any more, and reports whether
// the request waits for that. It is evaluated again then. Something that the same client says meanwhile may pass it.
// Only what Linphone says of a message comes here, and no more often than a user may ask for the history.
func (c *call) namesFirst() bool {
	s, req := c.shard, c.req
	if len(req.content.Extensions) == 0 || req.cmd != nil || req.found != nil || c.room == nil ||
		s.groups.byRoom[c.room.key] == nil {
		return false
	}
	c.me = c.room.get(req.fromKey())
	if c.me == nil || c.check(needMember) != nil {
		return false // run says so
	}
	q, asks := c.unnamed()
	if !asks || s.engine.reads.pending() >= loaders || s.engine.asksTooMuch(req, s.now) != nil ||
		s.engine.reads.begin(req.fromKey()) != nil {
		return false // it goes on as it came
	}
	answer := func(rows []store.MessageRow) {
		defer s.engine.held.pages.Add(-rowsSize(rows))
		req.found = &store.MessageRow{}
		is := func(row store.MessageRow) bool {
			return q.named == "" && row.Seq == q.after+1 || q.named != "" && row.Sender.Key() == req.fromKey()
		}
		if i := slices.IndexFunc(rows, is); i >= 0 && rows[i].MessageID != "" && isPrintable(rows[i].MessageID) {
			req.found = &rows[i]
		}
		if !s.engine.ownership.has(req.roomHash()) {
			s.refuse(req, s.rooms[req.roomKey()], refuseUnavailable("Database unavailable"))
			return
		}
		s.evaluate(req)
	}
	q.answer = func(rows []store.MessageRow, _ error) { s.inbox.post(func() { answer(rows) }) }
	s.engine.reads.put(req.fromKey(), q)
	return true
}

// unnamed is the query for the message that the one of this call names; false: it names none, or one that is known.
func (c *call) unnamed() (q query, ok bool) {
	for _, h := range c.req.content.Extensions {
		name, isCopy := parseCopyID(h.Value)
		switch {
		case isCopy && (name.room != c.room.id || name.hash != hash64(c.me.key)):
		case isCopy && slices.ContainsFunc(c.room.named, func(n namedMessage) bool { return n.seq == name.seq }):
		case isCopy && name.seq <= c.room.last:
			q, ok = query{after: name.seq - 1, limit: 1}, true
		case isCopy || !isMessageID(h.Value) || c.messageName(h.Value) != "":
		case c.room.last > 0:
			q, ok = query{after: c.room.last - min(c.room.last, maxNamesRead), limit: maxSameNames, named: h.Value}, true
		}
	}
	q.room, q.until = c.room.id, time.Now().Add(nameTimeout)
	return q, ok
}

// maxSameNames bounds the messages with a name that are looked at: names of different senders may be the same.
const maxSameNames = 8

// isMessageID reports whether the value of a header may be the Message-ID of a message: it is no number, and no URI.
func isMessageID(value string) bool {
	_, isURI := cutScheme(value)
	return !isURI && len(value) <= store.MaxMessageID && isPrintable(value) && !strings.ContainsAny(value, "<>\"") &&
		strings.Trim(value, "0123456789") != ""
}

// words are the end of messageName.
func (n *namedMessage) words() string { return " " + strconv.FormatUint(n.author, 36) + " " + n.id }

// extensions are the headers of CPIM that are stored with a message.
func (c *call) extensions() (headers []evapi.Header) {
	if c.me == nil {
		return nil
	}
	size := 0
	for _, h := range c.req.content.Extensions {
		kept := evapi.Header{Name: headerCPIM, Value: h.Name + ": " + h.Value}
		if name := c.messageName(h.Value); name != "" {
			kept = evapi.Header{Name: headerNames, Value: h.Name + ": " + name}
		}
		if size += len(kept.Value); size > maxExtensions {
			return nil
		}
		headers = append(headers, kept)
	}
	return headers
}

// extensionFor is a stored header of CPIM as a user, by the key, gets it; empty: h is none.
func extensionFor(h evapi.Header, user string) string {
	switch h.Name {
	case headerCPIM:
		return h.Value
	case headerNames:
		header, name, _ := strings.Cut(h.Value, ": ")
		copies, rest, _ := strings.Cut(name, " ")
		author, id, _ := strings.Cut(rest, " ")
		if reader := strconv.FormatUint(hash64(user), 36); reader != author {
			id = copies + reader
		}
		return header + ": " + id
	}
	return ""
}
