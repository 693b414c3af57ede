package engine

import (
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

// note is one answer or notice to one user.
type note struct {
	out    *evapi.Outgoing
	via    *evapi.Conn
	room   *room      // of invite or greets
	invite *member    // whose invitation it is; nil for all others
	greets *member    // the member that the notice greets in the room; nil for all others
	adder  store.Name // who added greets; zero if nobody did
	stored int64      // ID of its NoteRow; 0: it has none
	noted  bool       // the inviter knows that the invitation waits
	size   int        // bytes charged
	made   time.Time
	tries  int
}

// stream is the queue of notices to one user.
type stream struct {
	user     store.Name
	key      string
	notes    []note // to be sent, in order; the first is under way if inFlight is not nil
	inFlight *sentCopy
	kept     []note    // they wait until the user is there
	due      time.Time // when these are tried without a sign of the user
}

// keptUntil says when the kept notices of a stream are tried, unless stream.due differs: then they
// were sent meanwhile, and are kept again.
type keptUntil struct {
	stream *stream
	due    time.Time
}

// keeps reports whether n is kept if its user is offline.
func (n *note) keeps() bool { return n.invite != nil || n.stored != 0 }

// mustKeep reports whether n is kept after the outcome r. A user who declines an invitation (603)
// has answered it.
func (n *note) mustKeep(r evapi.Result) bool {
	switch v := judge(r); {
	case !n.keeps() || v.final() || v == malformed && n.tries >= malformedTries:
		return false
	case n.invite != nil && !r.Local && (r.Code == 603 || r.Code == 607):
		return false
	}
	return true
}
