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

	rooms map[string]*room // by key
	stale map[string]*room // likewise: rooms of failed commits, until they are loaded again
	epoch uint64           // of the committer, when it last loaded rooms again for this shard

	now        time.Time   // of this round
	replied    bool        // a request was answered in this round
	late       []lateReply // oldest first
	lateLogged time.Time   // when a late room was last logged

	dedupe dedupe
}

func newShard(e *Engine, index int) *shard {
	s := &shard{engine: e, index: index, inbox: newInbox(e.cfg.MailboxSize), now: time.Now(),
		rooms: make(map[string]*room), stale: make(map[string]*room)}
	s.dedupe = dedupe{reply: s.replyRepeated, most: seenTotal / (1 << e.cfg.HashSize), window: e.cfg.DuplicateWindow,
		known: make(map[seenKey]*seen)}
	s.delivery = newDelivery(e, index, s, s.inbox, s.rooms, s.stale)
	return s
}

// refuse answers a request outside of any room's order.
func (s *shard) refuse(req *request, r *room, why *refusal) {
	c := &call{shard: s, req: req, room: r}
	c.refuse(why)
	s.apply(c)
}

func (s *shard) reply(req *request, a evapi.Answer) {
	s.replyAs(req, a, false)
	s.dedupe.end(req.seen, a)
}

func (s *shard) replyRepeated(req *request, a evapi.Answer) { s.replyAs(req, a, true) }

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
