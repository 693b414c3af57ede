package engine

import (
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

// call is one request, or one step of the engine itself: its changes, and what is said once they are
// durable. A shard makes it and evaluates the request, the committer writes the changes, and then the
// shard sends the answer and the notices. A handler refuses before it changes anything.
type call struct {
	shard *shard
	req   *request // see asked
	room  *room    // nil: there is none of that name
	me    *member  // the sender's place in room; nil if none

	epoch   uint64 // of shard when this was made
	changes []store.Change
	lazy    bool // nobody waits for it
	apart   bool // its changes do not depend on each other
	again   bool // only loads room again

	early  bool // req has its answer already (durability memory)
	late   bool // it is a refusal that waits a moment
	unsure bool // req was answered before it was known whether this is stored
	reply  evapi.Answer
	says   []say
	events []*Event // published once this is durable; nil if nobody listens

	owners  bool        // the owners of room may have changed
	kept    int         // how many of its notices are kept for their users
	left    []*member   // members that this removes from room
	reading func()      // shows stored messages to the sender, who has a place among the reads; may be nil
	proves  store.Owned // beside what its shard proves; of a change of the owner
	stored  func()      // called by the committer once this is stored, before the next commit; may be nil
	after   func(error) // called in the shard when this is settled; may be nil
}

// asked reports whether a sender waits for an answer: it is no step of the engine itself.
func (c *call) asked() bool { return c.req != nil && c.req.msg != nil }

// say is one thing to send once a call is durable: to one user (to is set), or to all live members of
// the room.
type say struct {
	to      store.Name
	out     *evapi.Outgoing
	join    *member    // takes part in deliveries from now on
	move    *move      // for the next notice of joinings and leavings
	skip    string     // key of a member that does not get it
	sentOn  string     // its device; the others get it. Empty: none does
	invite  *member    // this is the invitation of the member
	greets  *member    // this greets the member in the room
	adder   store.Name // of greets: who added it; zero if nobody did
	stored  int64      // ID of the NoteRow; 0: it has none
	parts   bool       // says that the user is not in the room any more
	noted   bool       // of invite: the inviter knows that it waits
	size    int        // bytes charged
	seq     uint64     // number of a member's message; 0: a notice
	line    bool       // it stands before the next message
	at      time.Time  // when it was accepted
	expires time.Time  // when it is not delivered any more; zero: never
	cursor  uint64     // of join: the last message that join does not get

	receipt *openReceipt // which receipts the sender of a message gets; nil: none
}

// via is the Kamailio that the request came through.
func (c *call) via() *evapi.Conn {
	if !c.asked() {
		return nil
	}
	return c.req.msg.Conn
}

// user reads argument i as a user.
func (c *call) user(i int) (store.Name, *refusal) {
	n, err := ParseName(c.req.args[i], c.req.target.Host)
	if err != nil {
		return store.Name{}, refuseArguments("Bad user '" + clip(c.req.args[i]) + "': " + err.Error())
	}
	return n, nil
}

// service reports whether an operator acts without a user.
func (c *call) service() bool { return c.req.service() }
