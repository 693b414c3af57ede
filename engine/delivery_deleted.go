package engine

import (
	"slices"

	"imcd/engine/store"
)

// maxDeleted bounds the numbers of deleted messages that a room remembers: rows of them may still be on their way from
// the database.
const maxDeleted = 1000

// takeBack ends the delivery of a message that is being deleted, and returns the members that have it: its author,
// and those that have got it, or are being sent it at this moment.
func (d *delivery) takeBack(r *room, seq uint64, author string) (had []*member) {
	if len(r.deleted) >= maxDeleted {
		r.deleted = slices.Delete(r.deleted, 0, 1)
	}
	r.deleted = append(r.deleted, seq)
	for i := range r.log.entries {
		if e := &r.log.entries[i]; e.seq == seq {
			e.expires = store.DeletedTime()
			if i > 0 && r.log.entries[i-1].line {
				r.log.entries[i-1].expires = e.expires
			}
		}
	}
	for _, m := range r.order {
		m.page.takeBack(seq)
		if !m.invited() && (m.key == author || r.hasMessage(m, seq)) {
			had = append(had, m)
		}
	}
	for _, f := range d.backlogs {
		if f.room == r {
			f.page.takeBack(seq)
		}
	}
	return had
}

// giveBack forgets what takeBack has noted of changes that are not stored. The room is loaded again.
func (d *delivery) giveBack(r *room, changes []store.Change) {
	for _, c := range changes {
		if c.Op == store.DeleteMessage {
			r.deleted = slices.DeleteFunc(r.deleted, func(seq uint64) bool { return seq == c.Message.Seq })
		}
	}
}

// takeBack lets nobody get a message from p, which may be nil.
func (p *page) takeBack(seq uint64) {
	if p == nil {
		return
	}
	for i := range p.items {
		if p.items[i].seq == seq {
			p.items[i].expires = store.DeletedTime()
		}
	}
}

// hasMessage reports whether m has got a message, or is being sent it. Who came later has not.
func (r *room) hasMessage(m *member, seq uint64) bool {
	if slices.ContainsFunc(r.newcomers, func(n newcomer) bool { return n.member == m && n.joined >= seq }) {
		return false
	}
	if m.cursor >= seq || r.hasHad(m, seq) {
		return true
	}
	sends := func(f *sentCopy) bool { return f.seq == seq && f.missed == 0 }
	a := r.ahead[m]
	return m.inFlight != nil && sends(m.inFlight) || a != nil && slices.ContainsFunc(a.copies, sends)
}

// hasDeleted reports whether a message was deleted just now.
func (r *room) hasDeleted(seq uint64) bool { return slices.Contains(r.deleted, seq) }
