package engine

import (
	"time"

	"imcd/engine/store"
	"imcd/evapi"
	"imcd/evapi/sipmsg"
)

// request is a SIP MESSAGE on its way through the engine. It is made by the
// connection's reader and from then on belongs to one shard.
type request struct {
	msg     *evapi.Message
	from    store.Name                  // sender; zero if it has no usable URI
	display string                      // the sender's display name; may be empty
	target  store.Name                  // request URI
	room    store.Name                  // which room it is about
	keys    struct{ from, room string } // see fromKey and roomKey
	foreign bool                        // the sender is of another domain, as Kamailio says
	cmd     *command                    // nil for a message to the room
	word    string                      // the command as typed
	args    []string                    // its arguments

	callID      string
	marks       marks
	content     sipmsg.Content // what was sent; Kind 0: not read, or an operator's
	contentType string         // of the content that goes on; empty if there was none
	body        []byte         // likewise

	size    int      // bytes charged until it is answered
	refused *refusal // found while it was read
	metered bool     // counted against the sender's limits already
	seq     uint64   // number of the message; 0 until it has one, and for commands
	seen    *seen    // how its repetitions find it; nil if they cannot
	order   *order   // set if an operator asks, and not a user by SIP
}

// fromKey is from.Key(), made when it is first wanted: every stop on the way of a request
// looks something up by it.
func (req *request) fromKey() string {
	if req.keys.from == "" {
		req.keys.from = req.from.Key()
	}
	return req.keys.from
}

// roomKey is the same of room, which must be known by then.
func (req *request) roomKey() string {
	if req.keys.room == "" {
		req.keys.room = req.room.Key()
	}
	return req.keys.room
}

// lateAfter is the age from which on a request is not carried out any more: soon
// Kamailio answers 503 by itself (after 5 s, imc.cfg), and a client that heard 503
// expects that nothing was done.
const lateAfter = 4 * time.Second

// late reports whether it is too late for req.
func (req *request) late(now time.Time) bool {
	return req.msg.Age+now.Sub(req.msg.Received) > lateAfter
}

// kind names the command, or what else it is: "message", "receipt" or "typing";
// "unknown" if there is no command of that name.
func (req *request) kind() string {
	switch {
	case req.content.Kind == sipmsg.Receipt || req.content.Kind == sipmsg.Typing:
		return req.content.Kind.String()
	case req.cmd != nil:
		return req.cmd.names[0]
	case req.word != "":
		return "unknown"
	}
	return "message"
}

// base is the start of the range of return codes.
func (req *request) base() int {
	switch {
	case req.cmd != nil:
		return req.cmd.base
	case req.word != "":
		return rcUnknown
	}
	return rcMessage
}

// person reports whether somebody may be told something in answer: who has written a
// text. Programs are answered by the SIP response alone.
func (req *request) person() bool {
	switch req.content.Kind {
	case sipmsg.Receipt, sipmsg.Typing, sipmsg.Attachment:
		return false
	case sipmsg.Nothing:
		if !req.content.Entity.IsText() {
			return false
		}
	}
	return !req.marks.machine() && !req.marks.idle
}

// seenKey is what a request has in common with its repetitions: a client that
// lost the answer sends it again with the same Call-ID and CSeq (RFC 3261
// section 8.1.3.5 aside, that is a new request), as does a Kamailio that hands
// over the same event twice. Another From tag or another body makes another request,
// since there are clients that use a Call-ID for all they send. What has passed rooms is
// known by its path: it may come here from several of them.
type seenKey [16]byte

// seen is a request that was evaluated, or is being evaluated.
type seen struct {
	key     seenKey
	at      time.Time
	done    bool
	answer  evapi.Answer
	waiting []*request // repetitions that came before the answer
}

// order is what an operator's request has that a user's has not.
type order struct {
	role int8          // of add: what the new member becomes
	why  *refusal      // the shard's, until done has its value
	done chan struct{} // gets one value when the request is answered
}

func (req *request) service() bool { return req.order != nil && req.from.IsZero() }

// passed reports whether the request has passed other rooms.
func (req *request) passed() bool { return req.marks.path.id != "" }
