package engine

import (
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

const (
	// pageSize is how many messages are loaded at a time for members that lag (see pageLimit).
	pageSize = 32
	// loadRetry is how long members wait after a query failed for the first time.
	loadRetry = time.Second
)

// pageLimit is how many messages are loaded for m: one if a try must show first whether m can be
// reached, and more once that one was its own message or had expired.
func pageLimit(m *member) int {
	if w := m.wait; w != nil && !w.back && !w.looked {
		w.looked = true
		return 1
	}
	return pageSize
}

// givePage gives p to m.
func (d *delivery) givePage(m *member, p *page) {
	if p.users == 0 {
		d.countPage(p)
	}
	p.users++
	m.page, m.at = p, 0
}

// countPage counts the bytes of p, from now on held.
func (d *delivery) countPage(p *page) {
	for i := range p.items {
		if out := p.items[i].out; out != nil {
			p.bytes += d.engine.sizeOf(out)
		}
	}
	d.engine.held.pages.Add(int64(p.bytes))
}

// unread says that messages of a room could not be loaded. However many members want some, and whenever their queries
// have failed, all wait for the same next try.
type unread struct {
	until time.Time
	wait  time.Duration // the last one, which ends then
}

// failedToLoad notes that a query for r has failed: the next try is later after each failure.
func (d *delivery) failedToLoad(r *room, err error) {
	if r.unread == nil {
		r.unread = &unread{}
	}
	if u := r.unread; !u.until.After(d.now) { // else one of another member has failed before
		u.wait = longer(u.wait, loadRetry, patience(err))
		u.until = d.now.Add(u.wait)
	}
}

// loadLater lets m wait for the next try of r.
func (d *delivery) loadLater(r *room, m *member) {
	w := m.wait
	if w == nil {
		w = &wait{room: r, member: m, index: -1}
	}
	d.waitUntil(r, m, w, r.unread.until)
}

// composeRows makes copies of stored messages.
func (d *delivery) composeRows(r *room, rows []store.MessageRow) []pageItem {
	items := make([]pageItem, 0, len(rows))
	for i := range rows {
		out, err := d.engine.compose(r, &rows[i])
		if err != nil {
			// It was accepted under other limits or templates: its members lose it, and get the others.
			d.engine.log.Warn().Err(err).Str("room", r.key).Uint64("seq", rows[i].Seq).Msg("stored message cannot be sent")
		}
		item := pageItem{seq: rows[i].Seq, sender: rows[i].Sender.Key(), sentOn: rows[i].Device, at: rows[i].At,
			expires: rows[i].Expires}
		if r.hasDeleted(item.seq) {
			item.expires = store.DeletedTime() // it was read before that
		}
		if line := d.engine.composeLine(r, &rows[i]); line != nil && err == nil {
			item.out, item.line = line, true
			items = append(items, item)
		}
		item.out, item.line = out, false
		items = append(items, item)
	}
	return items
}

// pageStart is the number after which messages are loaded for m. seekPage passes over older ones that
// member_backlog excludes.
func (d *delivery) pageStart(r *room, m *member) uint64 {
	limit := uint64(d.engine.cfg.MemberBacklog)
	if limit == 0 || r.last < limit {
		return m.cursor
	}
	return max(m.cursor, r.last-limit)
}

// nextOfPage is the next copy for a member that lags, after seekPage. Where messages are missing before
// it, the copy is a notice of how many; it has the number of the last of them.
func (d *delivery) nextOfPage(r *room, m *member) (f sentCopy, out *evapi.Outgoing, err error) {
	upto := m.page.last
	if item := m.item(); item != nil {
		if item.seq == m.cursor+1 {
			if item.line {
				return sentCopy{at: d.clock(item.at), line: true}, item.out, nil
			}
			return sentCopy{seq: item.seq, at: d.clock(item.at)}, item.out, nil
		}
		upto = item.seq - 1
	}
	f = sentCopy{seq: upto, missed: upto - m.cursor}
	out, err = d.engine.composeCount(r, m, "missed", f.missed)
	return f, out, err
}
