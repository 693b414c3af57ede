package engine

import (
	"slices"

	"imcd/engine/store"
)

// submit sends t on its way: at once if it changes nothing and its room has no commit under way, else
// through the committer.
func (s *shard) submit(t *call) {
	if t.owners && t.room != nil {
		s.countOwners(t.room)
	}
	if len(t.changes) == 0 && (t.room == nil || t.room.committing == 0) {
		s.apply(t)
		return
	}
	if t.room != nil {
		t.room.committing++
		t.epoch = s.epoch
	}
	s.engine.committer.put(t)
}

// store implements deliveryOwner.
func (s *shard) store(changes []store.Change, lazy bool, after func(error)) {
	s.engine.committer.put(&call{shard: s, changes: changes, lazy: lazy, apart: true, after: after})
}

// apply sends the answer and the notices of a call.
func (s *shard) apply(t *call) {
	switch {
	case !t.asked() || t.early:
	case t.unsure:
		s.dedupe.endLate(t.req.seen, t.reply, s.now)
	case t.late:
		s.replyLater(t.req, t.reply)
	default:
		s.reply(t.req, t.reply)
	}
	for i := range t.says {
		y := &t.says[i]
		switch {
		case y.join != nil:
			s.delivery.enter(t.room, y.join, y.cursor)
			t.room.noteNewcomer(y.join, y.cursor)
			s.engine.locator.joins(y.join.name(), s.now)
		case y.move != nil:
			s.delivery.collect(t.room, y.move)
		case y.to.IsZero():
			s.delivery.appendLog(t.room, entry{out: y.out, via: t.via(), skip: y.skip, sentOn: y.sentOn, size: y.size,
				seq: y.seq, at: y.at, expires: y.expires, line: y.line}, y.receipt)
		default:
			s.delivery.note(y.to, note{out: y.out, via: t.via(), room: t.room, invite: y.invite, greets: y.greets,
				adder: y.adder, stored: y.stored, noted: y.noted, parts: y.parts, size: y.size})
		}
	}
	if hasEvent(t.changes) {
		s.engine.webhook.signal()
	}
	for _, ev := range t.events {
		s.engine.events.publish(ev)
	}
	if t.reading != nil {
		t.reading()
	}
	s.groups.applied(t)
}

// countOwners brings the ledger up to date with r, which has changed or does not exist any more.
func (s *shard) countOwners(r *room) {
	if s.engine.ledger.limit == 0 {
		return
	}
	var are []string
	if s.rooms[r.key] == r || s.stale[r.key] == r {
		for _, m := range r.owners() {
			are = append(are, m.key)
		}
	}
	if !slices.Equal(r.counted, are) {
		s.engine.ledger.replace(r.counted, are)
		r.counted = are
	}
}

// unresolved answers the sender of t, of which it is not known whether it is stored. Until that is
// known, repetitions get the same answer. It may be called again: each half of a batch that the database
// refuses is a commit of its own.
func (s *shard) unresolved(t *call) {
	if !t.asked() || t.early || t.unsure {
		return
	}
	t.unsure = true
	// Without a notice: "try again" might be wrong.
	c := &call{shard: s, req: t.req}
	c.refuse(&refusal{code: 503, detail: rcUnavailable, reason: "Database unavailable"})
	s.replyAs(t.req, c.reply, false)
	s.dedupe.endUnsure(t.req.seen, c.reply)
}

// refuse answers a request outside of any room's order.
func (s *shard) refuse(req *request, r *room, why *refusal) {
	c := &call{shard: s, req: req, room: r}
	c.refuse(why)
	s.apply(c)
}
