package engine

import (
	"strconv"
	"time"

	"imcd/evapi"
)

const (
	// pageSize is how many messages are loaded at a time for members that are
	// behind.
	pageSize = 32
	// loadTimeout is the deadline of a query.
	loadTimeout = 3 * time.Second
	// loadRetry is how long members wait after a query failed.
	loadRetry = time.Second
)

// page is a run of a room's messages as they were loaded. It is shared by the
// members that wait for it and immutable.
type page struct {
	items []pageItem
	last  uint64 // all stored messages up to this number are in it
}

type pageItem struct {
	seq    uint64
	sender string // key
	out    *evapi.Outgoing
	at     time.Time // when it was accepted
}

// load asks for what m has not got. Members at the same place share a query.
func (s *shard) load(r *room, m *member) {
	if missed := s.skipBacklog(r, m); missed > 0 {
		s.tellMissed(r, m, missed)
	}
	after := m.cursor
	if r.loads == nil {
		r.loads = make(map[uint64][]*member)
	}
	m.loading = true
	r.loads[after] = append(r.loads[after], m)
	if len(r.loads[after]) > 1 {
		return
	}
	last := r.last
	s.engine.loader.put(query{room: r.id, after: after, limit: pageSize, answer: func(rows []MessageRow, err error) {
		s.inbox.post(func(s *shard) { s.loaded(r, after, last, rows, err) })
	}})
}

// loaded gives the messages to those who waited for them. last was the room's
// last durable message when they were asked for.
func (s *shard) loaded(r *room, after, last uint64, rows []MessageRow, err error) {
	members := r.loads[after]
	delete(r.loads, after)
	if s.rooms[r.key] != r && s.stale[r.key] != r {
		return // destroyed
	}
	p := &page{last: last}
	if n := len(rows); n > 0 {
		p.items = s.composeRows(r, rows)
		if p.last = max(last, rows[n-1].Seq); n == pageSize {
			p.last = rows[n-1].Seq
		}
	}
	for _, m := range members {
		m.loading = false
		if !m.live || m.mode != behind || m.cursor != after || m.page != nil {
			continue
		}
		if err != nil {
			s.putOff(r, m, false, loadRetry)
			continue
		}
		m.page, m.at = p, 0
		s.setReady(r, m)
	}
}

// composeRows makes what members see of stored messages.
func (s *shard) composeRows(r *room, rows []MessageRow) []pageItem {
	items := make([]pageItem, 0, len(rows))
	for i := range rows {
		out, err := s.engine.compose(r, &rows[i])
		if err != nil {
			// Accepted under other limits or templates than now: counted
			// as refused, the others go on.
			s.engine.log.Warn().Err(err).Str("room", r.key).Uint64("seq", rows[i].Seq).Msg("stored message cannot be sent")
			s.engine.metrics.delivery("refused")
		}
		items = append(items, pageItem{seq: rows[i].Seq, sender: rows[i].Sender.Key(), out: out, at: rows[i].At})
	}
	return items
}

// skipBacklog moves m over what is more than it may be owed and returns how many
// messages that were.
func (s *shard) skipBacklog(r *room, m *member) int {
	limit := uint64(s.engine.cfg.MemberBacklog)
	if limit == 0 || r.last-m.cursor <= limit || r.last < m.cursor {
		return 0
	}
	missed := r.last - limit - m.cursor
	m.cursor += missed
	return int(missed)
}

// tellMissed says once how many messages were dropped before they reached m.
func (s *shard) tellMissed(r *room, m *member, n int) {
	s.engine.metrics.dropped.Add(float64(n))
	c := s.own(r)
	c.tell(m.name, "missed", vars{"n": strconv.Itoa(n)})
	s.submit(c.tx)
	s.markDirty(r)
}

// seekPage moves m over what it does not get of its page. It reports whether
// there is something to send; if not, m follows the log again or its next page
// is loaded.
func (s *shard) seekPage(r *room, m *member) bool {
	if m.page == nil {
		s.catchUp(r, m)
		return m.mode == following && s.seek(r, m)
	}
	for m.at < len(m.page.items) {
		item := &m.page.items[m.at]
		if gap := item.seq - m.cursor; gap > 1 {
			s.tellMissed(r, m, int(gap-1))
			m.cursor = item.seq - 1
		}
		if item.out != nil && item.sender != m.key {
			return true
		}
		s.passItem(r, m)
	}
	if m.page.last > m.cursor {
		s.tellMissed(r, m, int(m.page.last-m.cursor))
		m.cursor = m.page.last
	}
	m.page = nil
	s.catchUp(r, m)
	return m.mode == following && s.seek(r, m)
}

func (s *shard) passItem(r *room, m *member) {
	m.cursor = m.page.items[m.at].seq
	m.at++
	s.markDirty(r)
}

// catchUp lets m follow the log, if the log has all that m has not, and else
// loads more.
func (s *shard) catchUp(r *room, m *member) {
	if m.cursor < r.log.gone {
		s.load(r, m)
		return
	}
	n := r.log.end()
	for i := range r.log.entries {
		if r.log.entries[i].seq > m.cursor {
			n = r.log.base + uint64(i)
			break
		}
	}
	s.follow(r, m, n)
}
