package engine

import (
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

const (
	// pageSize is how many messages are loaded at a time for members that are
	// behind; one is enough to see whether somebody is there again (see pageLimit).
	pageSize = 32
	// loadTimeout is the deadline of a query.
	loadTimeout = 3 * time.Second
	// loadRetry is how long members wait after a query failed for the first time.
	loadRetry = time.Second
)

// page is a run of a room's messages as they were loaded. It is shared by the
// members that wait for it and immutable.
type page struct {
	items []pageItem
	last  uint64 // all stored messages up to this number are in it
	bytes int    // charged for it
	users int    // members that have it; with the last of them it is discharged
}

type pageItem struct {
	seq    uint64
	sender string // key
	out    *evapi.Outgoing
	at     time.Time // when it was accepted

	expires time.Time // when it is not delivered any more; zero: never
	line    bool      // it is no message but stands before one, whose number it has
}

// load asks for what m has not got. Members at the same place share a query.
func (s *shard) load(r *room, m *member) {
	after := s.pageStart(r, m)
	m.from = after
	if r.loads == nil {
		r.loads = make(map[uint64][]*member)
	}
	m.loading = true
	r.loads[after] = append(r.loads[after], m)
	if len(r.loads[after]) > 1 {
		return
	}
	last, limit := r.last, pageLimit(m)
	s.engine.loader.put(query{room: r.id, after: after, limit: limit, answer: func(rows []store.MessageRow, err error) {
		s.inbox.post(func(s *shard) {
			s.loaded(r, after, last, limit, rows, err)
			s.engine.held.pages.Add(-rowsSize(rows))
		})
	}})
}

// pageLimit is how many messages are loaded for m: one if only a try will tell whether it can
// be reached, and more if that is its own or has expired.
func pageLimit(m *member) int {
	if w := m.wait; w != nil && !w.back && !w.looked {
		w.looked = true
		return 1
	}
	return pageSize
}

// loaded gives the messages, limit at most, to those who waited for them. last was the room's
// last durable message when they were asked for.
func (s *shard) loaded(r *room, after, last uint64, limit int, rows []store.MessageRow, err error) {
	members := r.loads[after]
	delete(r.loads, after)
	for _, m := range members {
		m.loading = false
	}
	if s.rooms[r.key] != r && s.stale[r.key] != r {
		return // destroyed, or about to be
	}
	p := &page{last: last}
	if n := len(rows); n > 0 {
		p.items = s.composeRows(r, rows)
		if p.last = max(last, rows[n-1].Seq); n == limit {
			p.last = rows[n-1].Seq
		}
	}
	for _, m := range members {
		if !m.live || m.mode != behind || m.from != after || m.page != nil {
			continue
		}
		if err != nil {
			s.loadLater(r, m, err)
			continue
		}
		if m.wait != nil {
			m.wait.unread = 0
		}
		s.givePage(m, p)
		s.setReady(r, m)
	}
}

// givePage lets m go on with p.
func (s *shard) givePage(m *member, p *page) {
	if p.users == 0 {
		for i := range p.items {
			if out := p.items[i].out; out != nil {
				p.bytes += s.engine.sizeOf(out)
			}
		}
		s.engine.held.pages.Add(int64(p.bytes))
	}
	p.users++
	m.page, m.at = p, 0
}

// dropPage takes the page of m away, if it has one.
func (s *shard) dropPage(m *member) {
	if m.page == nil {
		return
	}
	if m.page.users--; m.page.users == 0 {
		s.engine.held.pages.Add(int64(-m.page.bytes))
		m.page.bytes = 0 // others may get it still, see loaded
	}
	m.page = nil
}

// loadLater lets m be loaded again, later after each failure.
func (s *shard) loadLater(r *room, m *member, err error) {
	w := m.wait
	if w == nil {
		w = &wait{room: r, member: m, index: -1}
	}
	w.unread = longer(w.unread, loadRetry, patience(err))
	s.waitUntil(r, m, w, s.now.Add(w.unread))
}

// composeRows makes what members see of stored messages.
func (s *shard) composeRows(r *room, rows []store.MessageRow) []pageItem {
	items := make([]pageItem, 0, len(rows))
	for i := range rows {
		out, err := s.engine.compose(r, &rows[i])
		if err != nil {
			// Accepted under other limits or templates than now: its members lose
			// it, and the others go on.
			s.engine.log.Warn().Err(err).Str("room", r.key).Uint64("seq", rows[i].Seq).Msg("stored message cannot be sent")
		}
		item := pageItem{seq: rows[i].Seq, sender: rows[i].Sender.Key(), at: rows[i].At, expires: rows[i].Expires}
		if line := s.engine.composeLine(r, &rows[i]); line != nil && err == nil {
			item.out, item.line = line, true
			items = append(items, item)
		}
		item.out, item.line = out, false
		items = append(items, item)
	}
	return items
}

// pageStart is the number after which m gets what it has not got: what is more
// than it may be owed is passed over, which seekPage finds.
func (s *shard) pageStart(r *room, m *member) uint64 {
	limit := uint64(s.engine.cfg.MemberBacklog)
	if limit == 0 || r.last < limit {
		return m.cursor
	}
	return max(m.cursor, r.last-limit)
}

// item is the next message in the page of m; nil at its end.
func (m *member) item() *pageItem {
	if int(m.at) < len(m.page.items) {
		return &m.page.items[m.at]
	}
	return nil
}

// pageItem is item; nil if there is no page either.
func (m *member) pageItem() *pageItem {
	if m.mode != behind || m.page == nil {
		return nil
	}
	return m.item()
}

// seekPage moves m over what it does not get of its page. It reports whether
// there is something to send; if not, m follows the log again or its next page
// is loaded.
func (s *shard) seekPage(r *room, m *member) bool {
	if m.page == nil {
		s.catchUp(r, m)
		return m.mode == following && s.seek(r, m)
	}
	for item := m.item(); item != nil; item = m.item() {
		if item.seq <= m.cursor { // it was skipped while the page was loaded
			m.at++
			continue
		}
		had := item.seq == m.cursor+1 && r.hasHad(m, item.seq)
		if item.seq > m.cursor+1 || !had && item.out != nil && item.sender != m.key && !s.expired(item.expires) {
			return true
		}
		if !had && item.out != nil && item.sender != m.key && !item.line {
			s.countExpired(item.seq)
		}
		s.passItem(r, m)
		if item.out == nil && item.sender != m.key {
			s.noteLoss(r, m, item.seq, lossUnsendable, 0)
			m.tellLoss()
		}
	}
	if m.unshown > 0 && !m.deaf {
		return true
	}
	if m.page.last > m.cursor {
		return true
	}
	s.dropPage(m)
	s.catchUp(r, m)
	return m.mode == following && s.seek(r, m)
}

// nextOfPage is what a member that is behind gets next, after seekPage. Where
// messages are missing before it, that is a notice of how many; it takes the place
// of the last of them.
func (s *shard) nextOfPage(r *room, m *member) (f flight, out *evapi.Outgoing, err error) {
	upto := m.page.last
	if item := m.item(); item != nil {
		if item.seq == m.cursor+1 {
			if item.line {
				return flight{at: s.clock(item.at), line: true}, item.out, nil
			}
			return flight{seq: item.seq, at: s.clock(item.at)}, item.out, nil
		}
		upto = item.seq - 1
	}
	f = flight{seq: upto, missed: upto - m.cursor}
	out, err = s.engine.composeCount(r, m, "missed", f.missed)
	return f, out, err
}

// passGap moves m over what was dropped before it reached m.
func (s *shard) passGap(f *flight) {
	s.engine.metrics.dropped.Add(float64(f.missed))
	s.gaveUp(f.room, f.member, f.seq-f.missed, f.seq)
	f.member.cursor = f.seq
	s.markDirty(f.room)
}

func (s *shard) passItem(r *room, m *member) {
	if item := m.item(); !item.line {
		m.cursor = item.seq
	}
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
