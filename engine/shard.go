package engine

import (
	"sync/atomic"
	"time"

	"imcd/evapi"
)

// shard owns the rooms that hash to it. All fields but engine, index, inbox and round belong to its
// goroutine.
type shard struct {
	engine   *Engine
	index    int
	inbox    *inbox
	round    atomic.Int64 // when its last round began, in ns of Unix time; 0: it does not run yet
	delivery *delivery    // of messages in its rooms
	idle     idleRooms    // those that end by themselves
	groups   *groups      // its rooms as group chats of clients

	rooms map[string]*room // by key
	stale map[string]*room // likewise: rooms of failed commits, until they are loaded again
	epoch uint64           // of the committer, when it last loaded rooms again for this shard

	now        time.Time   // of this round
	replied    bool        // a request was answered in this round
	late       []lateReply // oldest first
	lateLogged time.Time   // when a late room was last logged

	dedupe dedupe
}

func (s *shard) reply(req *request, a evapi.Answer) {
	s.replyAs(req, a, false)
	s.dedupe.end(req.seen, a)
}

func (s *shard) replyAs(req *request, a evapi.Answer, repeated bool) {
	if req.order != nil {
		req.order.done <- struct{}{} // never waits: there is one answer
	} else {
		s.engine.relay.Reply(req.msg, a)
		s.replied = true
	}
	s.engine.metrics.countRequest(req, a)
	s.engine.logRequest(req, a, repeated)
	s.engine.closed(req)
}

func (s *shard) addRoom(r *room) {
	s.rooms[r.key] = r
	s.engine.metrics.rooms.Add(1)
}

func (s *shard) removeRoom(r *room) {
	delete(s.rooms, r.key)
	s.engine.metrics.rooms.Add(-1)
}

// own makes a call for a step of the engine itself.
func (s *shard) own(r *room) *call {
	return &call{shard: s, room: r, req: &request{room: r.name, target: r.name}}
}

const (
	// lateTime is how long at least a refusal of a user waits who asks too fast: most clients send the next
	// request when they have the answer. With up to one tick more it is about T1 (RFC 3261), after which a
	// client would repeat its request.
	lateTime = 250 * time.Millisecond
	// maxLate bounds the refusals that wait in a shard. Further ones are sent at once.
	maxLate = 64
)

// lateReply is a refusal that waits.
type lateReply struct {
	req    *request
	answer evapi.Answer
	due    time.Time
}

// replyLater answers req a moment later.
func (s *shard) replyLater(req *request, a evapi.Answer) {
	if len(s.late) >= maxLate || s.engine.stopping.Load() {
		s.reply(req, a)
		return
	}
	s.late = append(s.late, lateReply{req, a, s.now.Add(lateTime)})
}

// replyLate sends the refusals that have waited long enough; all if the engine stops.
func (s *shard) replyLate() {
	for len(s.late) > 0 && (!s.late[0].due.After(s.now) || s.engine.stopping.Load()) {
		s.reply(s.late[0].req, s.late[0].answer)
		s.late = s.late[1:]
	}
	if len(s.late) == 0 {
		s.late = nil
	}
}
