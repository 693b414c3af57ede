package engine

import (
	"time"

	"imcd/engine/store"
)

// What a command brings about waits in its tx until it is durable, as everything
// else does that the outside hears of.

// happened notes something about a member of the call's room.
func (c *call) happened(kind EventKind, user store.Name, role string) {
	if !c.shard.engine.events.wants(kind) {
		return
	}
	ev := &Event{Kind: kind, Time: c.shard.now, Room: c.room.name, User: user, Role: role, Private: c.room.private}
	if c.req != nil {
		ev.By = c.req.from
	}
	c.tx.events = append(c.tx.events, ev)
}

// posted notes a message to the call's room.
func (c *call) posted(row *store.MessageRow) {
	if !c.shard.engine.events.wants(EventMessage) {
		return
	}
	c.tx.events = append(c.tx.events, &Event{Kind: EventMessage, Time: row.At, Room: c.room.name, User: row.Sender,
		Seq: row.Seq, Display: row.Display, ContentType: row.ContentType, Body: row.Body})
}

// failed tells that a copy of a message has not arrived.
func (s *shard) failed(f *flight, outcome string, code int) {
	if f.seq == 0 || f.missed > 0 || !s.engine.events.wants(EventFailure) {
		return
	}
	s.engine.events.publish(&Event{Kind: EventFailure, Time: s.now, Room: f.room.name, User: f.member.name(),
		Seq: f.seq, Code: code, Outcome: outcome})
}

// Linked tells listeners that a Kamailio is connected, or not any more. It never
// blocks.
func (e *Engine) Linked(kamailio string, up bool) {
	if e.events.wants(EventKamailio) {
		e.events.publish(&Event{Kind: EventKamailio, Time: time.Now(), Kamailio: kamailio, Up: up})
	}
}
