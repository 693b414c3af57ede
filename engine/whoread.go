package engine

import (
	"slices"
	"strconv"
	"strings"

	"imcd/engine/store"
)

const (
	// seenMost bounds the messages that the command shows, and among which it looks for
	// the last one of who asks.
	seenMost = 20
	// seenNames bounds the names in a line.
	seenNames = 12
)

func runSeen(c *call) *refusal {
	n := 1
	if len(c.req.args) > 0 {
		var err error
		if n, err = strconv.Atoi(c.req.args[0]); err != nil || n < 1 {
			return refuseArguments("'" + clip(c.req.args[0]) + "' is not a number of messages")
		}
	}
	if c.room.last == 0 {
		c.answer("history_none", nil)
		return nil
	}
	if refused := c.shard.engine.reads.begin(c.req.fromKey()); refused != nil {
		return refused
	}
	c.tx.seen = min(n, seenMost)
	return nil
}

// sendSeen tells a member who has got the last n messages, and to whom they were
// displayed. Who sent them is in the database. The member has a place among the reads.
func (s *shard) sendSeen(r *room, to store.Name, callID string, n int) {
	after := r.last - min(seenMost, r.last)
	s.engine.reads.put(to.Key(), query{room: r.id, after: after, limit: seenMost, answer: func(rows []store.MessageRow, err error) {
		s.inbox.post(func(s *shard) {
			defer s.engine.held.pages.Add(-rowsSize(rows))
			c := s.own(r)
			c.req.callID = callID
			m := r.get(to.Key())
			if s.rooms[r.key] != r || m == nil || m.invited() {
				return // has left meanwhile
			}
			switch {
			case err != nil:
				c.tell(to, "unavailable", nil)
			case len(rows) == 0:
				c.tell(to, "history_none", nil)
			default:
				c.text(to, strings.Join(s.seenLines(r, m, rows, n), "\n"), nil)
			}
			s.submit(c.tx)
		})
	}})
}

// seenLines tells of the last n of rows. Who asks for one learns of its own last message,
// too.
func (s *shard) seenLines(r *room, m *member, rows []store.MessageRow, n int) []string {
	last := &rows[len(rows)-1]
	if n > 1 {
		var lines []string
		for i := max(0, len(rows)-n); i < len(rows); i++ {
			lines = append(lines, s.seenLine("seen", r, &rows[i]))
		}
		return lines
	}
	own := slices.IndexFunc(rows, func(row store.MessageRow) bool { return row.Sender.Key() == m.key })
	for i := own + 1; i < len(rows); i++ {
		if rows[i].Sender.Key() == m.key {
			own = i
		}
	}
	var lines []string
	if own != len(rows)-1 {
		lines = append(lines, s.seenLine("seen_last", r, last))
	}
	if own >= 0 {
		lines = append(lines, s.seenLine("seen_own", r, &rows[own]))
	}
	return lines
}

// seenLine is what there is to tell of one message.
func (s *shard) seenLine(notice string, r *room, row *store.MessageRow) string {
	author := row.Sender.Key()
	of, got, read := len(r.audience(row.Seq, author)), len(r.takers(row.Seq, author)), r.readers(row.Seq, author)
	notices := s.engine.notices
	v := vars{"user": s.engine.author(r, row), "room": r.name.User, "n": strconv.Itoa(got), "of": strconv.Itoa(of),
		"time": row.At.UTC().Format("2006-01-02 15:04 UTC"), "read": notices.format("seen_nobody", nil)}
	if len(read) > 0 {
		var names []string
		for _, m := range read[:min(len(read), seenNames)] {
			names = append(names, s.engine.calledNow(r, m.name()))
		}
		list := strings.Join(names, ", ")
		if len(read) > seenNames {
			list += " …"
		}
		v["read"] = notices.format("seen_by", vars{"n": strconv.Itoa(len(read)), "names": list})
	}
	return notices.format(notice, v)
}
