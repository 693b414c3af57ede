package engine

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
	"imcd/evapi/sipmsg"
)

// tick is how often a shard looks for copies without outcome and for room to
// send what could not be sent before.
const tick = 250 * time.Millisecond

// shard owns the rooms that hash to it. All fields but engine, index, prefix, began and inbox
// belong to its goroutine.
type shard struct {
	engine *Engine
	index  int
	prefix string    // of its Call-IDs
	began  time.Time // the zero of its clock
	inbox  *inbox

	rooms map[string]*room // by key
	stale map[string]*room // rooms of failed commits, until they are loaded again
	epoch uint64           // of the committer, when it last had rooms loaded again for this shard

	kept      int         // notes that wait for their users, of all streams
	doneNotes []int64     // of kept ones, those that are to be deleted
	keptDue   []keptUntil // streams with such, in the order in which they are tried again

	streams  map[string]*stream // answers to users, by key; without empty ones
	hasNote  []*stream          // those with something to send and nothing under way
	turns    []*room            // rooms with ready members, in the order of their turns
	spent    int                // copies that the first of turns has sent in its turn
	flights  map[string]*flight // copies under way, by Call-ID
	expiry   []*flight          // the same and finished ones, once for each time that they were sent
	repeats  []*flight          // those that are to be sent again now
	fresh    []*flight          // the last of them: those that were sent just now, and finished ones
	tried    time.Time          // when a copy went last in spite of what is stuck
	older    []*flight          // the same a moment later, until they are burstTime old
	evicted  []evicted          // oldest first
	serial   uint64             // of notes, for Call-IDs
	now      time.Time          // of this round
	replied  bool               // somebody, in this round
	toldLate time.Time          // when it was last logged that a room is late

	evictedBytes int         // of evicted
	copyBytes    int         // as it was told last, see countCopies
	recipients   recipients  // of copies under way
	aside        []aside     // suspects that wait until fewer copies go to such
	ripeTimer    *time.Timer // runs while fresh is not empty

	waits    waits                         // members that are tried again later
	probes   bucket                        // tries that messages have brought forward
	catching int                           // members that were, and have not caught up yet
	away     map[string]map[*wait]struct{} // the same by user key

	dirty      map[*room]struct{} // rooms whose cursors are to be written
	held       map[*room]struct{} // rooms of which not all is written, because of copies under way or as it was refused
	placed     map[*room]bool     // rooms whose places are to be written; true: with the next flush
	placesAt   time.Time          // when that was last begun
	flushTimer *time.Timer        // runs while dirty or doneNotes is not empty
	flushWait  time.Duration      // before what could not be written is written again; 0: it could
	flushing   int                // rooms whose cursors are being written
	ending     bool               // the cursors were written for the last time: what arrived now could not be noted

	moving map[*room]struct{} // large rooms with a notice to come of who has joined and left

	refusedCursors map[cursorKey]refusedCursor // those that the database does not take
	typedNow       []typed                     // "is typing" that came in this round
	typedCopies    meter                       // copies of it

	seen      map[seenKey]*seen // requests and their answers
	seenOrder []*seen           // the same, oldest first
}

func newShard(e *Engine, index int) *shard {
	return &shard{engine: e, index: index, prefix: shardPrefix(index), inbox: newInbox(e.cfg.MailboxSize),
		began: time.Now(), now: time.Now(), rooms: make(map[string]*room), stale: make(map[string]*room),
		streams: make(map[string]*stream), flights: make(map[string]*flight),
		away: make(map[string]map[*wait]struct{}), dirty: make(map[*room]struct{}), held: make(map[*room]struct{}),
		placed: make(map[*room]bool), moving: make(map[*room]struct{}), flushTimer: newStoppedTimer(),
		ripeTimer: newStoppedTimer(), recipients: newRecipients(e.seed), refusedCursors: make(map[cursorKey]refusedCursor), seen: make(map[seenKey]*seen)}
}

// run works through the inbox until ctx ends.
func (s *shard) run(ctx context.Context) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	defer s.flushTimer.Stop()
	defer s.ripeTimer.Stop()
	var l letters
	for {
		s.tellTime()
		select {
		case <-ctx.Done():
			return
		case <-s.inbox.wake:
		case <-ticker.C:
			if s.index == 0 {
				s.engine.fitCredits()
			}
			s.writeHeld()
			s.writePlaces()
			s.giveUpParked()
			s.announceDue()
		case <-s.ripeTimer.C:
		case <-s.flushTimer.C:
			s.flush(nil)
		}
		s.tellTime()
		s.inbox.take(&l)
		for i := range l.results {
			s.result(l.results[i])
		}
		for _, f := range l.funcs {
			f(s)
		}
		if len(l.users) > 0 {
			s.heard(l.users)
		}
		for _, req := range l.requests {
			s.handle(req)
		}
		for i := range l.receipts { // behind all others
			s.receipt(&l.receipts[i])
		}
		s.expire()
		s.ripen()
		s.resumeDue()
		s.releaseDue()
		if s.engine.stopping.Load() {
			s.announceDue()
		}
		s.giveWay()
		s.pump()
		s.sendTyping()
		s.countCopies()
		s.engine.checkIdle()
	}
}

// tellTime sets the time of this round. After a long silence of imcd Kamailio has
// not reported all registrations.
func (s *shard) tellTime() {
	last := s.now
	if s.now = time.Now(); s.now.Sub(last) > frozenAfter {
		s.hurry()
	}
}

// giveWay lets replies be written before copies are made: who writes them was woken, and
// mostly waits for our processor.
func (s *shard) giveWay() {
	if s.replied {
		s.replied = false
		runtime.Gosched()
	}
}

// handle evaluates one request and answers it, unless a commit must come first.
func (s *shard) handle(req *request) {
	if req.refused == nil && req.content.Kind == sipmsg.Typing {
		s.typing(req)
		return
	}
	if req.refused == nil && s.repeated(req) {
		return
	}
	if r := s.engine.refuseForeign(req, s.rooms[req.roomKey()]); r != nil && s.stale[req.roomKey()] == nil {
		s.refuse(req, nil, r)
		return
	}
	if r := s.limited(req); r != nil {
		s.refuse(req, nil, r)
		return
	}
	if req.refused != nil {
		s.refuse(req, nil, req.refused)
		return
	}
	if req.seen != nil && !req.passed() {
		s.remember(req.seen)
	}
	s.evaluate(req)
}

// evaluate does so with a request that was counted and is not a repetition.
func (s *shard) evaluate(req *request) {
	if r := s.unavailable(req); r != nil {
		s.refuse(req, nil, r)
		return
	}
	if s.park(req) {
		return
	}
	c := &call{shard: s, req: req, room: s.rooms[req.roomKey()], tx: &tx{shard: s, req: req}}
	c.tx.room = c.room
	refused := c.run()
	switch {
	case refused != nil && req.passed():
		req.seen = nil // another room may bring it that is a member here
		c.refuse(refused)
	case refused != nil:
		c.refuse(refused)
	default:
		c.tx.answer = s.engine.accepted()
		if req.seen != nil && req.passed() {
			s.remember(req.seen)
		}
	}
	if len(c.tx.changes) > 0 && req.seen != nil {
		c.tx.changes = append(c.tx.changes, c.tx.seenChange())
	}
	if req.cmd == nil && refused == nil && s.engine.cfg.Durability == DurabilityMemory {
		c.tx.early = true
		s.reply(req, c.tx.answer)
	}
	s.submit(c.tx)
}

// unavailable says why nothing can be done for req now; nil if it can.
func (s *shard) unavailable(req *request) *refusal {
	switch {
	case s.engine.stopping.Load():
		return refuseUnavailable("Shutting down")
	case req.late(s.now):
		return &refusal{code: 503, detail: rcUnavailable, reason: "Too late"}
	case s.engine.held.full():
		return refuseOverloaded()
	case req.cmd == nil && !req.service() && s.overdue(s.rooms[req.roomKey()]):
		return s.refuseLate(s.rooms[req.roomKey()])
	case req.cmd != nil && req.cmd.roomAt == noRoom:
		return nil // concerns no room
	case s.stale[req.roomKey()] != nil && !s.stale[req.roomKey()].parking:
		return refuseUnavailable("Database unavailable")
	}
	return s.engine.committer.ready()
}

// accepted is the answer to what is done as it was asked.
func (e *Engine) accepted() evapi.Answer {
	if e.cfg.SuccessCode == 202 {
		return evapi.Answer{Code: 202, Reason: "Accepted", RC: rcOK}
	}
	return evapi.Answer{Code: 200, Reason: "OK", RC: rcOK}
}

// refuse answers a request outside of any room's order.
func (s *shard) refuse(req *request, r *room, why *refusal) {
	c := &call{shard: s, req: req, room: r, tx: &tx{shard: s, req: req}}
	c.refuse(why)
	s.apply(c.tx)
}

func (s *shard) reply(req *request, a evapi.Answer) {
	s.replyAs(req, a, false)
	if req.seen != nil {
		s.answered(req.seen, a)
	}
}

func (s *shard) replyAs(req *request, a evapi.Answer, repeated bool) {
	if req.order != nil {
		req.order.done <- struct{}{} // never waits: there is one answer
	} else {
		s.engine.relay.Reply(req.msg, a)
		s.replied = true
	}
	s.engine.metrics.request(req, a)
	s.engine.logRequest(req, a, repeated)
	s.engine.closed(req)
}

// createRoom makes a room in memory; its changes are the caller's.
func (s *shard) createRoom(name store.Name, private bool) *room {
	r := newRoom(name, newRoomID())
	r.private, r.stored = private, true
	s.addRoom(r)
	return r
}

func (s *shard) addRoom(r *room) {
	s.rooms[r.key] = r
	s.engine.metrics.rooms.Add(1)
}

func (s *shard) removeRoom(r *room) {
	delete(s.rooms, r.key)
	s.engine.metrics.rooms.Add(-1)
}

// install takes over a room that was loaded when the engine starts.
func (s *shard) install(state store.RoomState) {
	r := newRoom(state.Room.Name, 0)
	s.addRoom(r)
	s.fill(r, state, nil)
	s.countOwners(r)
}

// fill gives r the stored state; members of was, by key, stay the same objects.
func (s *shard) fill(r *room, state store.RoomState, was map[string]*member) {
	r.name, r.private = state.Room.Name, state.Room.Flag&store.RoomPrivate != 0
	if r.stored = state.Room.ID != 0; r.stored {
		r.id = state.Room.ID
	} else {
		r.id = newRoomID()
	}
	r.seq, r.last, r.done = state.Room.Seq, state.Room.Seq, state.Room.Done
	r.log.gone = r.last
	r.reserve(len(state.Members))
	for _, row := range state.Members {
		m := newMember(row.User, row.Flag)
		if old := was[m.key]; old != nil {
			m = old
		}
		m.flag, m.inviter, m.told = int8(row.Flag), nil, row.Told
		r.put(m)
		if !row.Inviter.IsZero() {
			inviter := row.Inviter // not the whole row
			m.inviter = &inviter
		}
		switch {
		case m.invited():
			s.leave(r, m)
			if !m.told && m.inviter != nil && was == nil {
				s.sendInvitation(r, m)
			}
		case m.live:
			s.setReady(r, m)
		default:
			cursor := r.done
			if m.tracked = row.Cursor != nil; m.tracked {
				cursor, m.stored = *row.Cursor, *row.Cursor
			}
			cursor = max(cursor, m.cursor) // it left in vain, and had come further than was written
			if m.tracked && cursor < r.last {
				s.enterLater(r, m, cursor)
			} else {
				s.enter(r, m, cursor)
				s.setReady(r, m) // there may be a loss that it is to be told of
			}
		}
	}
	r.fillPlaces(state.Places)
}

// shardPrefix starts a Call-ID with what leads its result back to a shard.
func shardPrefix(index int) string { return fmt.Sprintf("%03x-", index) }

// noteID names a copy of something that is not a stored message.
func (s *shard) noteID() string {
	s.serial++
	return s.prefix + s.engine.tag + "-n" + strconv.FormatUint(s.serial, 36)
}
