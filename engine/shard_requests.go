package engine

import (
	"imcd/evapi/sipmsg"
)

// handle evaluates one request and answers it, unless a commit must come first.
func (s *shard) handle(req *request) {
	if !s.engine.ownership.has(req.roomHash()) && req.ofRoom() {
		s.engine.ownedElsewhere(req)
		return
	}
	if req.refused == nil && req.content.Kind == sipmsg.Typing {
		s.delivery.typing(req)
		s.reply(req, s.engine.accepted())
		return
	}
	if req.refused == nil && s.dedupe.begin(req, s.now) {
		return
	}
	if r := s.engine.refuseForeign(req, s.rooms[req.roomKey()]); r != nil && s.stale[req.roomKey()] == nil {
		s.refuse(req, nil, r)
		return
	}
	if r := s.engine.limited(req, s.rooms[req.roomKey()], s.now); r != nil {
		s.refuse(req, nil, r)
		return
	}
	if req.refused != nil {
		s.refuse(req, nil, req.refused)
		return
	}
	if !req.passed() {
		s.dedupe.remember(req.seen, s.now)
	}
	s.evaluate(req)
}

// evaluate carries out a request that was counted and is no repetition.
func (s *shard) evaluate(req *request) {
	if r := s.unavailable(req); r != nil {
		s.refuse(req, nil, r)
		return
	}
	if s.park(req) {
		return
	}
	c := &call{shard: s, req: req, room: s.rooms[req.roomKey()]}
	if c.readsFirst() || c.usesKeyFirst() || c.namesFirst() {
		return
	}
	refused := c.run()
	switch {
	case refused != nil && req.passed():
		req.seen = nil // it may come by another room that is a member here
		c.refuse(refused)
	case refused != nil:
		c.refuse(refused)
	default:
		c.reply = s.engine.accepted()
		if req.native != nil {
			c.reply = req.nativeAnswer()
		}
		if req.passed() {
			s.dedupe.remember(req.seen, s.now)
		}
	}
	if len(c.changes) > 0 && req.seen != nil {
		c.changes = append(c.changes, c.seenChange())
	}
	if req.cmd == nil && refused == nil && s.engine.cfg.Durability == DurabilityMemory {
		c.early = true
		s.reply(req, c.reply)
	}
	s.submit(c)
}

// unavailable says why req cannot be carried out now; nil if it can.
func (s *shard) unavailable(req *request) *refusal {
	switch {
	case s.engine.stopping.Load():
		return refuseUnavailable("Shutting down")
	case req.isLate(s.now):
		return &refusal{code: 503, detail: rcUnavailable, reason: "Too late"}
	case s.engine.held.full():
		return refuseOverloaded()
	case req.cmd == nil && !req.service() && s.delivery.overdue(s.rooms[req.roomKey()]):
		return s.refuseLate(s.rooms[req.roomKey()])
	case req.cmd != nil && req.cmd.roomAt == noRoom:
		return nil // concerns no room
	case s.stale[req.roomKey()] != nil && !s.stale[req.roomKey()].parking:
		return refuseUnavailable("Database unavailable")
	}
	return s.engine.committer.ready()
}

// refuseLate is the answer to a message for a room that is overdue.
func (s *shard) refuseLate(r *room) *refusal {
	s.engine.metrics.shed.Inc()
	if s.now.Sub(s.lateLogged) >= lateLogged {
		s.lateLogged = s.now
		s.engine.log.Warn().Str("room", r.key).Uint64("behind", r.last-r.front).
			Msg("more is said than can be delivered: messages to this room, and maybe others, are refused")
	}
	return refuseOverloaded()
}

// superseded takes a call back that was made behind a refused one, and reports whether its request is
// evaluated again.
func (s *shard) superseded(t *call) bool {
	if t.room == nil {
		return false
	}
	r := s.stale[t.room.key]
	if r == nil || !r.parking {
		return false
	}
	if r == t.room {
		r.leavers = append(r.leavers, t.left...)
	}
	if !t.asked() || t.early || t.unsure || len(r.behind) >= s.engine.cfg.MailboxSize {
		return false
	}
	r.behind = append(r.behind, t.req)
	return true
}

// park keeps a request until its room is loaded again, and reports whether that is so.
func (s *shard) park(req *request) bool {
	r := s.stale[req.roomKey()]
	if r == nil || !r.parking || req.cmd != nil && req.cmd.roomAt == noRoom {
		return false
	}
	if len(r.parked) >= s.engine.cfg.MailboxSize {
		s.refuse(req, nil, refuseOverloaded())
	} else {
		r.parked = append(r.parked, req)
	}
	return true
}

// unpark evaluates the requests that waited for r, in their order.
func (s *shard) unpark(r *room) {
	behind, parked := r.behind, r.parked
	r.parking, r.behind, r.parked = false, nil, nil
	for _, req := range behind {
		s.evaluateAgain(req, r)
	}
	for _, req := range parked {
		s.evaluateAgain(req, r)
	}
}

// evaluateAgain also repeats the check of foreign senders: the state that it depends on may not be
// stored.
func (s *shard) evaluateAgain(req *request, r *room) {
	if refused := s.engine.refuseForeign(req, s.rooms[r.key]); refused != nil && s.stale[r.key] == nil {
		s.refuse(req, nil, refused)
		return
	}
	s.evaluate(req)
}

// giveUpParked answers requests that wait for rooms if the database is away meanwhile.
func (s *shard) giveUpParked() {
	for _, r := range s.stale {
		if len(r.behind)+len(r.parked) > 0 && !s.engine.committer.healthy() {
			s.unpark(r)
		}
	}
}
