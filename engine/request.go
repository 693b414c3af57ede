package engine

import (
	"strconv"
	"time"

	"github.com/emiago/sipgo/sip"

	"imcd/engine/store"
	"imcd/evapi"
	"imcd/evapi/sipmsg"
)

// request is a SIP MESSAGE on its way through the engine. The reader of the connection makes it, then one
// shard owns it.
type request struct {
	msg     *evapi.Message
	from    store.Name                  // sender; zero if it has no usable URI
	display string                      // the sender's display name; may be empty
	target  store.Name                  // request URI
	room    store.Name                  // the room that it concerns
	keys    struct{ from, room string } // see fromKey and roomKey
	hash    uint32                      // of the key of room, see roomHash; 0: not made yet
	foreign bool                        // the sender is of another domain, as Kamailio says
	cmd     *command                    // nil for a message to the room
	word    string                      // the command as typed
	args    []string                    // its arguments
	text    string                      // of a command with textAt: the text, as it was typed

	callID      string
	marks       marks
	content     sipmsg.Content // Kind 0: not read, or from an operator
	contentType string         // of the content that is passed on; empty if there was none
	body        []byte         // likewise

	size    int          // bytes charged until it is answered
	refused *refusal     // why it is refused, found while it was read
	metered bool         // it has counted against the limits of the sender
	seq     uint64       // number of the message; 0 until it has one, and for commands
	seen    *seenRequest // how repetitions find it; nil if they cannot
	// found is the message that #delete, or a reply, is about, as it is stored; zero: there is none; nil: it was not read.
	found  *store.MessageRow
	proof  *keyProof  // of #join and #set key; nil: it was not looked at yet
	native *nativeAsk // set if it is no MESSAGE: its client knows rooms as group chats
	order  *order     // set if it comes from an operator, and not by SIP
}

// fromKey is from.Key(), made once: many maps have it as a key.
func (req *request) fromKey() string {
	if req.keys.from == "" {
		req.keys.from = req.from.Key()
	}
	return req.keys.from
}

// roomKey is room.Key(), made once; room must be known.
func (req *request) roomKey() string {
	if req.keys.room == "" {
		req.keys.room = req.room.Key()
	}
	return req.keys.room
}

// roomHash is the Hash of roomKey, made once.
func (req *request) roomHash() uint32 {
	if req.hash == 0 {
		req.hash = store.Hash(req.roomKey())
	}
	return req.hash
}

// lateAfter is the age from which on a request is not carried out: soon Kamailio answers 503 by itself
// (after 5 s, imc.cfg), and a client that gets a 503 expects that nothing was done.
const lateAfter = 4 * time.Second

// isLate reports whether it is too late for req.
func (req *request) isLate(now time.Time) bool {
	return req.msg.Age+now.Sub(req.msg.Received) > lateAfter
}

// action is the name of the command, or "message", "receipt" or "typing";
// "unknown" if there is no command of that name.
func (req *request) action() string {
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

// ofRoom reports whether only the engine that has the room can answer.
func (req *request) ofRoom() bool {
	return req.refused == nil && (req.cmd == nil || req.cmd.roomAt != noRoom)
}

// person reports whether the sender may get notices: a person has written a text. Programs get the SIP
// response alone.
func (req *request) person() bool {
	if req.native != nil {
		return false
	}
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

// seenKey is equal for a request and its repetitions: a client that lost the answer sends it again with
// the same Call-ID and CSeq, and a Kamailio may report an event twice. Another From tag or another body
// makes another request, as some clients use one Call-ID for all requests. A message that has passed
// rooms is known by its path: it may come from several of them.
type seenKey [16]byte

// seenRequest is a request that was evaluated, or is being evaluated.
type seenRequest struct {
	key     seenKey
	at      time.Time
	done    bool
	answer  evapi.Answer
	waiting []*request // repetitions that came before the answer
}

// order is the part of a request that only an operator's has.
type order struct {
	role int8          // of add: what the new member becomes
	why  *refusal      // the shard's, until done has its value
	done chan struct{} // gets one value when the request is answered
}

func (req *request) service() bool { return req.order != nil && req.from.IsZero() }

// passed reports whether the request has passed other rooms.
func (req *request) passed() bool { return req.marks.path.id != "" }

// nativeAsk is the part of a request that only such a client's has.
type nativeAsk struct {
	method  sip.RequestMethod
	device  string   // GRUU; empty: the request does not say
	users   []string // of a creation: URIs
	version uint32   // of a SUBSCRIBE: the version that the device has
}

func (m *metrics) countRequest(req *request, a evapi.Answer) {
	name := req.action()
	m.requests.WithLabelValues(name, strconv.Itoa(a.Code)).Inc()
	if name == "message" && a.RC == rcOK {
		m.messages.Inc()
	}
}
