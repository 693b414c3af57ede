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
	n, r := c.messages(1)
	if r != nil || c.room.last == 0 {
		return r
	}
	to := c.req.from
	return c.read(seenMost, func(c *call, m *member, rows []store.MessageRow) {
		c.text(to, strings.Join(c.seenLines(m, rows, min(n, seenMost)), "\n"), nil)
	})
}

// seenLines are the lines about the last n of rows. With n = 1 they include the sender's own last message.
func (c *call) seenLines(m *member, rows []store.MessageRow, n int) []string {
	last := &rows[len(rows)-1]
	if n > 1 {
		var lines []string
		for i := max(0, len(rows)-n); i < len(rows); i++ {
			lines = append(lines, c.seenLine("seen", &rows[i]))
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
		lines = append(lines, c.seenLine("seen_last", last))
	}
	if own >= 0 {
		lines = append(lines, c.seenLine("seen_own", &rows[own]))
	}
	return lines
}

// seenLine is the line about one message.
func (c *call) seenLine(notice string, row *store.MessageRow) string {
	r := c.room
	author := row.Sender.Key()
	of, got, read := len(r.audience(row.Seq, author)), len(r.takers(row.Seq, author)), r.readers(row.Seq, author)
	notices := c.shard.engine.notices
	v := vars{"user": c.shard.engine.author(r, row), "room": r.name.User, "n": strconv.Itoa(got), "of": strconv.Itoa(of),
		"time": row.At.UTC().Format("2006-01-02 15:04 UTC"), "read": notices.format("seen_nobody", nil)}
	if len(read) > 0 {
		var names []string
		for _, m := range read[:min(len(read), seenNames)] {
			names = append(names, c.shard.engine.calledNow(r, m.name()))
		}
		list := strings.Join(names, ", ")
		if len(read) > seenNames {
			list += " …"
		}
		v["read"] = notices.format("seen_by", vars{"n": strconv.Itoa(len(read)), "names": list})
	}
	return notices.format(notice, v)
}
