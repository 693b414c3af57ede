package engine

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"imcd/engine/store"
)

// historyDefault is how many messages the command shows without an argument.
const historyDefault = 20

func runHistory(c *call) *refusal {
	n, r := c.messages(historyDefault)
	if r != nil || c.room.last == 0 {
		return r
	}
	return c.showHistory(min(n, c.shard.engine.cfg.HistoryMax))
}

// messages reads an argument that says how many messages to show. If the room has none, the sender gets a
// notice. It is refused if the sender asks too fast.
func (c *call) messages(without int) (int, *refusal) {
	if r := c.shard.engine.asksTooMuch(c.req, c.shard.now); r != nil {
		return 0, r
	}
	n := without
	if len(c.req.args) > 0 {
		var err error
		if n, err = strconv.Atoi(c.req.args[0]); err != nil || n < 1 {
			return 0, refuseArguments("'" + clip(c.req.args[0]) + "' is not a number of messages")
		}
	}
	if c.room.last == 0 {
		c.answer("history_none", nil)
	}
	return n, nil
}

// showHistory shows the last n messages, the newest last.
func (c *call) showHistory(n int) *refusal {
	to := c.req.from
	return c.read(n, func(c *call, _ *member, rows []store.MessageRow) {
		lines := make([]string, len(rows))
		for i := range rows {
			lines[i] = c.historyLine(&rows[i])
		}
		c.list(to, "history_header", below, lines, nil)
	})
}

// read reads the last n messages of the room once this call is applied, and lets show, in a call of its
// own, write to the sender, if it is still a member. It is refused if there is too much to read.
func (c *call) read(n int, show func(c *call, m *member, rows []store.MessageRow)) *refusal {
	s, to, callID := c.shard, c.req.from, c.req.callID
	if refused := s.engine.reads.begin(c.req.fromKey()); refused != nil {
		return refused
	}
	c.reading = func() {
		r := c.room
		answer := func(rows []store.MessageRow, err error) {
			defer s.engine.held.pages.Add(-rowsSize(rows))
			rows = slices.DeleteFunc(rows, func(row store.MessageRow) bool { return r.hasDeleted(row.Seq) })
			c := s.own(r)
			c.req.callID = callID
			m := r.get(to.Key())
			switch {
			case s.rooms[r.key] != r || m == nil || m.invited():
				return // has left meanwhile
			case err != nil:
				c.tell(to, "unavailable", nil)
			case len(rows) == 0:
				c.tell(to, "history_none", nil)
			default:
				show(c, m, rows)
			}
			s.submit(c)
		}
		s.engine.reads.put(to.Key(), query{room: r.id, upto: r.last, limit: n,
			answer: func(rows []store.MessageRow, err error) { s.inbox.post(func() { answer(rows, err) }) }})
	}
	return nil
}

// historyLine is one message with its time and sender.
func (c *call) historyLine(row *store.MessageRow) string {
	e := c.shard.engine
	body, ok := storedText(row)
	if body = strings.ToValidUTF8(body, "?"); ok {
		body = string(indent([]byte(body)))
	} else {
		body = cmp.Or(fileWords(row), e.notices.describe(row.ContentType, len(row.Body)))
	}
	return e.notices.format("history", vars{"n": strconv.FormatUint(row.Seq, 10), "user": e.author(c.room, row),
		"room": c.room.name.User, "time": historyTime(row.At, c.shard.now), "body": body})
}
