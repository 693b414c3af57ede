package engine

import "imcd/evapi"

const (
	// turnCopies is how many copies a room sends in its turn. Copies of one message travel together, which
	// is cheaper the more there are.
	turnCopies = 64
)

// pump sends notices first, and then copies of each room in turn, as long as there are credits. When the
// engine is ending, it sends nothing whose arrival must be noted.
func (d *delivery) pump() {
	defer d.engine.credits.done(d.inbox)
	for len(d.hasNote) > 0 {
		st := d.hasNote[0]
		stays := d.ending && st.notes[0].keeps() // it stays in the database until the next start
		if !stays && !d.sendNote(st) {
			return
		}
		d.hasNote[0] = nil
		d.hasNote = d.hasNote[1:]
	}
	if !d.ending && !d.sendLanes() {
		return
	}
	for len(d.repeats) > 0 && !d.ending {
		if f := d.repeats[0]; !f.over && !d.repeat(f) {
			return
		}
		d.repeats[0] = nil
		d.repeats = d.repeats[1:]
	}
	d.trySuspects()
	for !d.ending {
		list := d.nextTurn()
		if len(*list) == 0 {
			return
		}
		r, small := (*list)[0], list == &d.small
		if !d.turn(r, small) {
			return
		}
		if !small {
			d.spent, d.ahead = 0, 0
		}
		(*list)[0] = nil
		*list = (*list)[1:]
		r.turn = false
		if len(r.ready) > 0 {
			d.enqueue(r)
		} else {
			r.ready = nil
		}
	}
}

// nextTurn is the queue whose first room has its turn. Small rooms go ahead, but not by more than
// turnCopies: then another room has a turn.
func (d *delivery) nextTurn() *[]*room {
	if len(d.turns) == 0 {
		d.ahead = 0
	}
	if len(d.small) > 0 && d.ahead < turnCopies {
		return &d.small
	}
	return &d.turns
}

// turn sends copies to members of r that are ready. False: the rest of its turn must wait.
func (d *delivery) turn(r *room, small bool) bool {
	spent := &d.spent
	if small {
		spent = &d.ahead
	}
	for ; *spent < turnCopies && len(r.ready) > 0; *spent++ {
		m := r.ready[0]
		m.queued = noQueue // a copy that can never be sent is settled at once, and the next one may go
		switch {
		case !m.live || m.loading || !d.hasNext(r, m):
			d.letNext(m.key)
		case !d.waitsAside(r, m) && !d.send(r, m, small):
			m.queued = ready
			return false
		}
		r.ready[0] = nil
		r.ready = r.ready[1:]
	}
	return true
}

// send sends m its next copy, ahead of copies of other rooms if small. False: it cannot be sent now, and
// nothing has changed.
func (d *delivery) send(r *room, m *member, small bool) bool {
	f, next, err := d.nextCopy(r, m)
	f.room, f.member = r, m
	if d.engine.cfg.MemberWindow > 1 && d.underWay(r, m, d.copyID(f), next) {
		return true
	}
	if small {
		d.engine.credits.small.Store(d.now.UnixNano())
	}
	unsaid, own := d.unsaid(f), d.sentByMember(r, m, f)
	if all := d.engine.devices.of(m.key); all != nil && err == nil && m.inFlight == nil && !unsaid {
		if live, others, ok := registered(all, d.now); ok {
			if own != "" {
				live, others = withoutSender(live, own), withoutSender(others, own)
			}
			for _, v := range others {
				d.tryGone(v)
			}
			if sent, err := d.sendFork(f, next, live, others, small, own != ""); err == nil {
				if sent {
					d.noteDeparture(f, all)
				}
				return sent
			}
		}
	}
	unsaid = unsaid || own != "" // the devices that should have got it are not there any more
	size := 0
	if err == nil {
		size = f.out.BodyLen()
	}
	f.credit = weigh(size)
	f.credit.suspect = m.isSuspect()
	if small && !d.engine.credits.takeFirst(d.inbox, f.credit) || !small && !d.engine.credits.take(d.inbox, f.credit) {
		return false
	}
	f.id = d.copyID(f)
	seen := d.engine.credits.drained.Load()
	more := uint8(0)
	if err == nil && !unsaid {
		f.conn, more, err = d.sendTo(f.conn, f, m.key, evapi.Copy{Out: f.out, To: m.uri, CallID: f.id, First: small})
	}
	if retryable(err) {
		d.notSent(f.credit, seen, err)
		return false
	}
	r.addInFlight(m, f, next)
	if err != nil {
		d.engine.log.Warn().Err(err).Str("room", r.key).Str("member", m.key).Msg("copy not sent")
		d.complete(f, evapi.Result{CallID: f.id, Code: 400, Local: true, Reason: err.Error()})
		d.letNext(m.key)
		return true
	}
	d.trackInFlight(f)
	f.tries += more
	if unsaid {
		d.complete(f, evapi.Result{CallID: f.id, Code: 200})
		return true
	}
	if d.engine.cfg.MemberWindow > 1 {
		d.setReady(r, m)
	}
	return true
}

// nextCopy is the next copy for m, after hasNext, and where m goes on behind it.
func (d *delivery) nextCopy(r *room, m *member) (f *sentCopy, next ahead, err error) {
	f = &sentCopy{}
	if m.inFlight != nil {
		*f, next, _ = d.nextAhead(r, m)
		return f, next, nil
	}
	switch {
	case m.unshown > 0 && !m.deaf:
		f.notice, f.losses = noticeLoss, m.unshown
	case m.mode == following:
		e := r.log.at(m.next)
		f.out, f.conn, f.seq, f.at, f.entry = e.out, e.via, e.seq, d.clock(e.at), m.next+1
	default:
		*f, f.out, err = d.nextOfPage(r, m)
	}
	if m.wait != nil && m.wait.back && f.missed == 0 && d.isPoison(m.wait, f.seq, 0) {
		f.notice, f.losses = noticePoison, 1
	}
	if f.notice != noLossNotice {
		f.out, err = d.engine.composeCount(r, m, "not_shown", uint64(f.losses))
	}
	return f, next, err
}

// sendNote sends the first note of st. False: it cannot be sent now.
func (d *delivery) sendNote(st *stream) bool {
	n := &st.notes[0]
	f := &sentCopy{id: d.idOf(n), stream: st, out: n.out, credit: weigh(n.out.BodyLen())}
	if !d.engine.credits.takeFirst(d.inbox, f.credit) {
		return false
	}
	seen := d.engine.credits.drained.Load()
	var err error
	// Of one that was loaded only the text is known.
	more, unsaid := uint8(0), (n.greets != nil || n.parts || n.stored != 0 && !d.ofMember(f, st.key)) &&
		d.engine.natives.has(st.key)
	if !unsaid {
		f.conn, more, err = d.sendTo(n.via, f, st.key, evapi.Copy{Out: n.out, To: st.user.URI(), CallID: f.id, First: true})
	}
	st.inFlight = f
	switch {
	case retryable(err) && (n.keeps() || d.now.Sub(n.made) < noteAge):
		st.inFlight = nil
		d.notSent(f.credit, seen, err)
		return false
	case err != nil:
		d.engine.log.Warn().Err(err).Str("user", st.key).Msg("notice not sent")
		d.complete(f, evapi.Result{CallID: f.id, Code: 400, Local: true, Reason: err.Error()})
	default:
		d.trackInFlight(f)
		f.tries += more
		if unsaid { // the device hears of it by INVITE or BYE
			d.complete(f, evapi.Result{CallID: f.id, Code: 200})
		}
	}
	return true
}
