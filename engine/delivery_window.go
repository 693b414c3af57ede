package engine

import (
	"slices"

	"imcd/evapi"
)

// With a member_window above 1 several copies to one member are under way at a time. The first one is
// member.inFlight, as with a window of 1, and moves the cursor. Outcomes of later ones wait for their
// turn, so that a cursor never passes a message that has not arrived. If one fails for now, later ones
// that have arrived are remembered, and not sent again.

// completeAhead takes the outcome of a copy that was sent behind another one.
func (d *delivery) completeAhead(f *sentCopy, res evapi.Result) {
	r, m := f.room, f.member
	if !f.ahead || !m.live {
		return
	}
	if a := r.ahead[m]; a != nil && slices.Contains(a.copies, f) {
		f.failed = &res
		return
	}
	// It was under way when one before it failed.
	if v := judge(res); f.seq > m.cursor && (v == arrived || v == known) {
		d.noteHad(f)
	}
}

// noteHad remembers that a member has got a message beyond its cursor. The window bounds these messages
// together with the copies under way.
func (d *delivery) noteHad(f *sentCopy) {
	r, m := f.room, f.member
	d.engine.metrics.arrived(d.clock(d.now)-f.at, f)
	d.reached(r, m, f.seq)
	a := r.aheadOf(m)
	a.had = append(a.had, f.seq)
}

// advance makes the next copy under way the first, after the first got its outcome res; those that have
// their outcome already are settled, too.
func (d *delivery) advance(r *room, m *member, res evapi.Result) {
	a := r.ahead[m]
	for a != nil {
		a.had = slices.DeleteFunc(a.had, func(n uint64) bool { return n <= m.cursor })
		switch {
		case !m.live:
			return
		case m.mode == waiting:
			d.scatter(r, m)
			return
		case judge(res) == resend || m.inFlight != nil:
			return // the first is sent again, or under way
		case len(a.copies) == 0:
			if a.page = nil; len(a.had) == 0 {
				delete(r.ahead, m)
			}
			return
		}
		f := a.copies[0]
		if d.passTo(r, m, f); !m.isNext(f) {
			d.scatter(r, m)
			return
		}
		a.copies = a.copies[1:]
		if !f.over {
			m.inFlight = f
			return
		}
		res = *f.failed
		m.last = m.last.with(res.Code, d.now)
		d.settle(f, res)
	}
}

// passTo moves m over messages before f that it must not get.
func (d *delivery) passTo(r *room, m *member, f *sentCopy) {
	if m.mode == following && f.entry > 0 {
		for m.next >= r.log.base && m.next+1 < f.entry && m.next < r.log.end() {
			if e := r.log.at(m.next); d.owes(r, m, e.skip, e.sentOn, e.seq) && !d.expired(e.expires) {
				return
			}
			d.pass(r, m)
		}
		return
	}
	for item := m.pageItem(); item != nil && (f.line && !item.line || !f.line && item.seq < f.seq); item = m.pageItem() {
		switch {
		case item.seq <= m.cursor:
			m.at++
		case item.seq > m.cursor+1 || d.owes(r, m, item.sender, item.sentOn, item.seq) && !d.expired(item.expires):
			return
		default:
			d.passItem(r, m)
		}
	}
}

// scatter forgets the order of the copies under way behind a failed one. Those that have arrived are
// remembered; the others are sent again if they do not arrive.
func (d *delivery) scatter(r *room, m *member) {
	a := r.ahead[m]
	if a == nil {
		return
	}
	for _, f := range a.copies {
		if f.over {
			if v := judge(*f.failed); f.seq > m.cursor && (v == arrived || v == known) {
				d.noteHad(f)
			}
		}
	}
	a.copies, a.page = nil, nil
	if len(a.had) == 0 {
		delete(r.ahead, m)
	}
}

// underWay finds the copy with a Call-ID, which is the next one for m, if it was sent before, behind one
// that failed. Then it is not sent again.
func (d *delivery) underWay(r *room, m *member, id string, next ahead) bool {
	if a := r.ahead[m]; a != nil && m.inFlight == nil {
		if i := slices.IndexFunc(a.copies, func(f *sentCopy) bool { return f.id == id }); i >= 0 {
			a.copies = a.copies[i:] // the ones before it have expired
			d.advance(r, m, evapi.Result{Code: 200})
			d.setReady(r, m)
			return true
		}
	}
	f := d.inFlight[id]
	if f == nil || f.member != m {
		return false
	}
	r.addInFlight(m, f, next)
	d.setReady(r, m)
	return true
}
