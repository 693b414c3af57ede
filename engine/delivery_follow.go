package engine

import (
	"time"

	"imcd/engine/store"
)

// Where a member stands: in the log of its room, or in a page; and how it passes messages.

// follow lets m get its copies from the log, from entry n on.
func (d *delivery) follow(r *room, m *member, n uint64) {
	m.mode, m.next = following, n
	d.caughtUp(m)
	r.followers++
	for i := n; i < r.log.end(); i++ {
		r.log.at(i).owed++
	}
}

// unfollow ends follow; m gets the rest from the database.
func (d *delivery) unfollow(r *room, m *member) {
	if !m.live || m.mode != following {
		return
	}
	r.followers--
	for n := max(m.next, r.log.base); n < r.log.end(); n++ {
		r.log.at(n).owed--
	}
	d.engine.charge(-r.log.trim())
	m.mode, m.exempt = lagging, r.last
}

// caughtUp frees the place of m among the members that catch up: it has caught up, waits again, or left.
func (d *delivery) caughtUp(m *member) {
	if m.resumed {
		m.resumed = false
		delete(d.catchers, m)
		d.catching--
	}
}

// passOne moves a member over a copy with an outcome. Meanwhile the log may have dropped the message, or
// the room may have been loaded again.
func (d *delivery) passOne(f *sentCopy) {
	r, m := f.room, f.member
	switch {
	case f.missed > 0:
		d.passGap(f)
	case f.line:
		if m.page != nil && m.item() != nil && m.item().line {
			m.at++
		}
	case m.page != nil && m.item() != nil && m.item().seq == f.seq:
		d.passItem(r, m)
	case m.mode == following && f.entry == m.next+1 && m.next >= r.log.base:
		d.pass(r, m)
	case f.seq > m.cursor:
		m.cursor = f.seq
		d.markDirty(r)
	}
}

// pass moves m over one entry of the log.
func (d *delivery) pass(r *room, m *member) {
	if m.next >= r.log.base {
		e := r.log.at(m.next)
		e.owed--
		if e.seq > m.cursor {
			m.cursor = e.seq
			d.markDirty(r)
		}
		d.engine.charge(-r.log.trim())
	}
	m.next++
}

func (d *delivery) passItem(r *room, m *member) {
	if item := m.item(); !item.line {
		m.cursor = item.seq
	}
	m.at++
	d.markDirty(r)
}

// passGap moves m over messages that were dropped.
func (d *delivery) passGap(f *sentCopy) {
	d.engine.metrics.dropped.Add(float64(f.missed))
	d.gaveUp(f.room, f.member, f.seq-f.missed, f.seq)
	f.member.cursor = f.seq
	d.markDirty(f.room)
}

// countExpired counts a message that has expired, at a time, before a member got it; 0 is a line before one.
func (d *delivery) countExpired(seq uint64, at time.Time) {
	if seq > 0 && !at.Equal(store.DeletedTime()) {
		d.engine.metrics.expired.Inc()
	}
}

// dropPage takes the page of m away, if it has one.
func (d *delivery) dropPage(m *member) {
	if m.page == nil {
		return
	}
	if m.page.users--; m.page.users == 0 {
		d.engine.held.pages.Add(int64(-m.page.bytes))
		m.page.bytes = 0 // others may still get the page, see loaded
	}
	m.page = nil
}
