package engine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

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
	// maxNamed bounds the messages of a room whose names at their authors are known, after a start those since then. A
	// reply to an older one stands alone at the author of that.
	maxNamed = 256
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
	own := hash64(c.me.key)
	for _, n := range slices.Backward(c.room.named) {
		if n.author == own && n.id == id {
			return fmt.Sprintf("%s%s-%d-%s", c.shard.delivery.prefix, strconv.FormatInt(c.room.id, 36), n.seq, n.words())
		}
	}
	name, ok := parseCopyID(id)
	if !ok || name.room != c.room.id || name.hash != own || !isPrintable(id) {
		return ""
	}
	copies := id[:strings.LastIndexByte(id, '-')+1]
	for _, n := range c.room.named {
		if n.seq == name.seq {
			return copies + n.words()
		}
	}
	return copies + "  "
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
