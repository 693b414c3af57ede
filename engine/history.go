package engine

import (
	"strconv"
	"strings"

	"imcd/engine/store"
)

// historyDefault is how many messages the command shows without an argument.
const historyDefault = 20

func runHistory(c *call) *refusal {
	n := historyDefault
	if len(c.req.args) > 0 {
		var err error
		if n, err = strconv.Atoi(c.req.args[0]); err != nil || n < 1 {
			return refuseArguments("'" + clip(c.req.args[0]) + "' is not a number of messages")
		}
	}
	n = min(n, c.shard.engine.cfg.HistoryMax)
	if c.room.last == 0 {
		c.answer("history_none", nil)
		return nil
	}
	if refused := c.shard.engine.reads.begin(c.req.fromKey()); refused != nil {
		return refused
	}
	c.tx.history = n
	return nil
}

// sendHistory sends the last n messages of a room to one user, who has a place among the
// reads, the newest last.
func (s *shard) sendHistory(r *room, to store.Name, callID string, n int) {
	after := r.last - min(uint64(n), r.last)
	s.engine.reads.put(to.Key(), query{room: r.id, after: after, limit: n, answer: func(rows []store.MessageRow, err error) {
		s.inbox.post(func(s *shard) {
			defer s.engine.held.pages.Add(-rowsSize(rows))
			c := s.own(r)
			c.req.callID = callID
			if m := r.get(to.Key()); s.rooms[r.key] != r || m == nil || m.invited() {
				return // has left meanwhile
			}
			if err != nil {
				c.tell(to, "unavailable", nil)
			} else if len(rows) == 0 {
				c.tell(to, "history_none", nil)
			}
			lines := make([]string, len(rows))
			for i := range rows {
				lines[i] = s.historyLine(r, &rows[i])
			}
			if len(lines) > 0 {
				c.list(to, "history_header", below, lines, nil)
			}
			s.submit(c.tx)
		})
	}})
}

// historyLine is one message with its time and sender.
func (s *shard) historyLine(r *room, row *store.MessageRow) string {
	body, ok := storedText(row)
	if body = strings.ToValidUTF8(body, "?"); ok {
		body = string(indent([]byte(body)))
	} else {
		body = s.engine.describe(row.ContentType, len(row.Body))
	}
	return s.engine.notices.format("history", vars{"user": s.engine.author(r, row), "room": r.name.User,
		"time": when(row.At, s.now), "body": body})
}
