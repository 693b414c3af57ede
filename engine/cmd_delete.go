package engine

import (
	"strconv"
	"strings"
	"time"

	"imcd/engine/store"
)

// #delete takes a message back: it is gone from the history and from what is still owed. Phones cannot take a text
// back, so members that have it hear of it.

const actDelete = "delete"

// readsFirst reads the message that the command is about, if that is a #delete that may be carried out, and reports
// whether the request waits for that. It is evaluated again then.
func (c *call) readsFirst() bool {
	s, req := c.shard, c.req
	if req.cmd == nil || !req.cmd.is(actDelete) || req.found != nil || c.room == nil {
		return false
	}
	c.me = c.room.get(req.fromKey())
	seq, refused := c.messageNumber()
	if refused != nil || c.check(req.cmd.need) != nil {
		return false // run says so
	}
	reader := req.fromKey()
	if c.service() {
		reader = operators
	}
	if refused = s.engine.asksTooMuch(req, s.now); refused == nil {
		refused = s.engine.reads.begin(reader)
	}
	if refused != nil {
		s.refuse(req, c.room, refused)
		return true
	}
	answer := func(rows []store.MessageRow, err error) {
		defer s.engine.held.pages.Add(-rowsSize(rows))
		req.found = &store.MessageRow{}
		if len(rows) > 0 && rows[0].Seq == seq {
			req.found = &rows[0]
		}
		if err != nil || !s.engine.ownership.has(req.roomHash()) {
			s.refuse(req, s.rooms[req.roomKey()], refuseUnavailable("Database unavailable"))
			return
		}
		s.evaluate(req)
	}
	s.engine.reads.put(reader, query{room: c.room.id, after: seq - 1, limit: 1,
		answer: func(rows []store.MessageRow, err error) { s.inbox.post(func() { answer(rows, err) }) }})
	return true
}

// messageNumber reads the argument as the number of a message that is stored.
func (c *call) messageNumber() (uint64, *refusal) {
	word := c.req.args[0]
	seq, err := strconv.ParseUint(strings.TrimPrefix(word, c.shard.engine.cfg.CmdStartChar), 10, 64)
	switch {
	case err != nil:
		return 0, refuseArguments("'" + clip(word) + "' is not the number of a message")
	case seq == 0 || seq > c.room.last:
		return 0, refuseMessage(seq)
	}
	return seq, nil
}

// refuseMessage is for a message that does not exist, or not any more.
func refuseMessage(seq uint64) *refusal {
	return &refusal{code: 404, detail: rcNoUser, reason: "No such message", notice: "no_message",
		vars: vars{"n": strconv.FormatUint(seq, 10)}}
}

func runDelete(c *call) *refusal {
	seq, r := c.messageNumber()
	if r != nil {
		return r
	}
	row := c.req.found
	if row == nil || row.Room != c.room.id || row.Deleted() || c.room.hasDeleted(seq) {
		return refuseMessage(seq)
	}
	if r := c.mayDelete(row); r != nil {
		return r
	}
	author := row.Sender.Key()
	v := vars{"n": strconv.FormatUint(seq, 10), "time": historyTime(row.At, c.shard.now),
		"user": c.shard.engine.author(c.room, row)}
	notice := "deleted"
	if !c.service() && author == c.req.fromKey() {
		notice = "deleted_own"
	}
	had := c.shard.delivery.takeBack(c.room, seq, author)
	c.changes = append(c.changes, store.Change{Op: store.DeleteMessage,
		Message: &store.MessageRow{Room: row.Room, Seq: seq}})
	c.acted(actDelete, row.Sender.URI(), time.Time{}, "message "+strconv.FormatUint(seq, 10))
	for _, m := range had {
		if m.key != c.req.fromKey() {
			c.tellKept(m.name(), notice, v)
		}
	}
	c.answer(notice, v)
	return nil
}

// mayDelete says why the sender may not delete a message: it is somebody else's, or too old.
func (c *call) mayDelete(row *store.MessageRow) *refusal {
	within := c.shard.engine.cfg.DeleteWithin
	switch {
	case c.administers():
		return nil
	case row.Sender.Key() != c.req.fromKey():
		return forbid("Only for owners and admins", "need_admin")
	case c.shard.now.Sub(row.At) > within:
		return &refusal{code: 403, detail: rcForbidden, reason: "Too late to delete it", notice: "delete_late",
			vars: vars{"n": strconv.FormatUint(row.Seq, 10), "time": store.ShowTerm(within)}}
	}
	return nil
}
