package engine

import (
	"errors"
	"slices"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

// tx is one request (or one step of the engine's own) with what it changes and
// what is said once the change is durable. A shard fills it, the committer
// writes its changes, the shard then applies the rest.
type tx struct {
	shard   *shard
	room    *room  // nil if it concerns none
	epoch   uint64 // of its shard when it was made
	changes []store.Change
	lazy    bool // nobody waits for it
	apart   bool // its changes have nothing to do with each other
	again   bool // nothing but: load room again

	req    *request // nil for the engine's own steps
	early  bool     // req has its answer already (durability memory)
	unsure bool     // req was answered before it was known whether this is stored
	answer evapi.Answer
	says   []say
	events []*Event // told once this is durable; nil if nobody listens

	owners  bool        // of room, they may have changed
	kept    int         // notices in it that wait for their users
	left    []*member   // members of room that are dropped
	history int         // messages to show to the sender, who has a place among the reads for that; 0: none
	seen    int         // messages of which it is told who has read them; 0: none. The same holds
	after   func(error) // called in the shard when the tx is settled; may be nil
}

// say is one thing that goes out once a tx is durable: to one user (to is set)
// or to all live members of the tx's room.
type say struct {
	to      store.Name
	out     *evapi.Outgoing
	join    *member    // takes part in the room's deliveries from here on
	move    *move      // the room's next notice of who has joined and left tells of it
	skip    string     // to all but the member with this key
	invite  *member    // the copy is the invitation of this member
	greets  *member    // the copy tells this member that it is in the room
	adder   store.Name // of greets: who added it; zero if nobody did
	stored  int64      // ID of the NoteRow of what is kept; 0: it is not
	noted   bool       // of invite: who invited knows that it waits
	size    int        // bytes charged
	seq     uint64     // number of a member's message; 0: a notice
	at      time.Time  // when it was accepted
	expires time.Time  // when it is not delivered any more; zero: never
	cursor  uint64     // of join: the last message that join does not get

	receipt *openReceipt // what the sender gets of a member's message; nil: nothing
}

// via is the Kamailio that the request came through.
func (t *tx) via() *evapi.Conn {
	if t.req == nil {
		return nil
	}
	return t.req.msg.Conn
}

// submit sends t on its way: at once if it neither changes anything nor stands
// behind a change of the same room, else through the committer.
func (s *shard) submit(t *tx) {
	if t.owners && t.room != nil {
		s.countOwners(t.room)
	}
	if len(t.changes) == 0 && (t.room == nil || t.room.inflight == 0) {
		s.apply(t)
		return
	}
	if t.room != nil {
		t.room.inflight++
		t.epoch = s.epoch
	}
	s.engine.committer.put(t)
}

// done takes a tx back from the committer.
func (s *shard) done(t *tx, err error) {
	if t.room != nil {
		t.room.inflight--
	}
	if t.after != nil {
		t.after(err)
	}
	if err == nil {
		s.apply(t)
		return
	}
	again := false
	switch {
	case errors.Is(err, errSuperseded):
		again = s.superseded(t)
	case errors.Is(err, store.ErrUnavailable):
		if t.room != nil {
			s.distrust(t.room, t.left)
		}
	default:
		s.refused(t)
	}
	switch {
	case t.req == nil || t.early || again:
	case t.unsure:
		s.resolved(t.req.seen, evapi.Answer{Code: 503}) // it was not done
	default:
		s.refuse(t.req, t.room, refuseCommit(err))
	}
	for _, y := range t.says {
		s.engine.charge(-y.size)
	}
	if t.history+t.seen > 0 {
		s.engine.reads.end(t.req.fromKey())
	}
}

// apply answers the sender and tells everybody concerned.
func (s *shard) apply(t *tx) {
	switch {
	case t.req == nil || t.early:
	case t.unsure:
		s.resolved(t.req.seen, t.answer)
	default:
		s.reply(t.req, t.answer)
	}
	for i := range t.says {
		y := &t.says[i]
		switch {
		case y.join != nil:
			s.enter(t.room, y.join, y.cursor)
			t.room.noteNewcomer(y.join, y.cursor)
		case y.move != nil:
			s.collect(t.room, y.move)
		case y.to.IsZero():
			s.appendLog(t.room, entry{out: y.out, via: t.via(), skip: y.skip, size: y.size, seq: y.seq, at: y.at,
				expires: y.expires}, y.receipt)
		default:
			s.note(y.to, note{out: y.out, via: t.via(), room: t.room, invite: y.invite, greets: y.greets, adder: y.adder,
				stored: y.stored, noted: y.noted, size: y.size})
		}
	}
	for _, ev := range t.events {
		s.engine.events.publish(ev)
	}
	if t.seen > 0 {
		s.sendSeen(t.room, t.req.from, t.req.callID, t.seen)
	}
	if t.history > 0 {
		s.sendHistory(t.room, t.req.from, t.req.callID, t.history)
	}
}

// distrust puts a room aside after a failed commit: what memory has of it may
// not be what the database has. Requests for it are refused until it is loaded
// again (reload). Members that left in vain are noted as members for that.
func (s *shard) distrust(r *room, left []*member) {
	r.leavers = append(r.leavers, left...)
	if s.stale[r.key] != nil {
		return
	}
	if now := s.rooms[r.key]; now != nil {
		s.removeRoom(now)
		if now != r {
			s.discard(now)
			s.countOwners(now)
		}
	}
	s.stale[r.key] = r
}

// reload gives a distrusted room the state that the database has; nil: it has
// no such room. Members that are still there keep their place in the log.
func (s *shard) reload(key string, state *store.RoomState, epoch uint64) {
	s.epoch = epoch
	r := s.stale[key]
	if r == nil {
		return
	}
	delete(s.stale, key)
	s.replace(r, state)
	s.unpark(r)
}

// replace makes r what is stored.
func (s *shard) replace(r *room, state *store.RoomState) {
	defer s.countOwners(r)
	if state == nil {
		s.discard(r)
		return
	}
	was := make(map[string]*member, len(r.order))
	for _, m := range slices.Concat(r.leavers, r.order) {
		was[m.key] = m // one that is there again counts
	}
	r.roster, r.leavers, r.names = roster{}, nil, nil
	is := make(map[string]struct{}, len(state.Members))
	for _, row := range state.Members {
		is[row.User.Key()] = struct{}{}
	}
	for key, m := range was {
		s.unfollow(r, m) // what was committed after all is only in the database
		if _, stays := is[key]; !stays {
			s.leave(r, m)
		}
	}
	s.addRoom(r)
	s.fill(r, *state, was)
	s.rewrite([]*room{r})
}
