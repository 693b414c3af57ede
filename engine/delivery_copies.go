package engine

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"imcd/evapi"
)

// Copies under way: from the sending of each to its outcome.

// copyID names the copy of a message for a member. It is the same each time the copy is sent, so that
// phones recognise a repetition. That of a notice is new each time.
func (d *delivery) copyID(f *sentCopy) string {
	if f.seq == 0 || f.notice != noLossNotice {
		return d.noteID()
	}
	var buf [96]byte
	id := strconv.AppendInt(append(buf[:0], d.prefix...), f.room.id, 36)
	id = strconv.AppendUint(append(id, '-'), f.seq, 10)
	id = strconv.AppendUint(append(id, '-'), hash64(f.member.key), 36)
	if f.missed > 0 {
		id = strconv.AppendUint(append(id, "-m"...), f.missed, 10)
	}
	return string(id)
}

func (d *delivery) trackInFlight(f *sentCopy) {
	d.inFlight[f.id] = f
	d.recipients.add(f)
	d.sent(f)
	if f.room != nil {
		f.room.inFlight++
	}
}

// sent notes that f was sent, for the first time or again.
func (d *delivery) sent(f *sentCopy) {
	f.since = d.clock(d.now)
	f.tries++
	f.expiries++
	d.expiry = append(d.expiry, f)
	if len(d.fresh) == 0 {
		d.freshTimer.Reset(d.engine.credits.justSent())
	}
	d.fresh = append(d.fresh, f)
	d.compact()
}

// compact drops finished copies from the lists once they are the majority: one copy without an outcome
// would keep all behind it.
func (d *delivery) compact() {
	most := 2*len(d.inFlight) + compactFrom
	if len(d.expiry) > most {
		d.expiry = slices.DeleteFunc(d.expiry, func(f *sentCopy) bool {
			if !f.over && f.expiries == 1 {
				return false
			}
			f.expiries--
			return true
		})
	}
	for _, list := range []*[]*sentCopy{&d.fresh, &d.older} {
		if len(*list) > most {
			*list = slices.DeleteFunc(*list, func(f *sentCopy) bool { return f.over })
		}
	}
}

// compactFrom is how many finished copies a list may have in any case.
const compactFrom = 256

// result takes the outcome of a try. A copy that was sent several times has failed when all its tries
// have.
func (d *delivery) result(r evapi.Result) {
	f := d.inFlight[r.CallID]
	if r.Device != "" {
		if leg := d.inFlight[legID(r.CallID, r.Device)]; leg != nil {
			f = leg
		}
	}
	switch {
	case f == nil:
		d.engine.metrics.countDelivery("stray")
	case f.tries > 1 && judge(r) > known:
		f.tries--
		counts := worse(f.failed, r)
		f.failed = &counts
	default:
		d.completeTry(f, r)
	}
}

// completeTry ends a copy by the outcome of its last try, or of an earlier one that counts more.
func (d *delivery) completeTry(f *sentCopy, r evapi.Result) {
	if f.failed != nil {
		r = worse(f.failed, r)
	}
	d.complete(f, r)
}

// lost ends the copies that a Kamailio took before it was restarted at the time now.
func (d *delivery) lost(c *evapi.Conn, now time.Time) {
	for _, f := range d.inFlight {
		if f.conn == c && f.since < d.clock(now) {
			d.complete(f, evapi.Result{CallID: f.id, Code: 503, Local: true, Reason: "Kamailio was restarted"})
		}
	}
}

// expire gives up copies without an outcome, as after a restart of Kamailio.
func (d *delivery) expire() {
	for len(d.expiry) > 0 {
		f := d.expiry[0]
		open := !f.over && f.expiries == 1 // else it was sent again, and has a later place, too
		if open && d.age(f) < d.engine.cfg.ResultTimeout {
			return
		}
		f.expiries--
		d.expiry[0] = nil
		d.expiry = d.expiry[1:]
		if open {
			d.completeTry(f, evapi.Result{CallID: f.id, Code: 408, Reason: "no outcome"})
		}
	}
}

// abandon forgets a copy, and ignores its outcome.
func (d *delivery) abandon(f *sentCopy) {
	f.over = true
	if d.inFlight[f.id] == f {
		delete(d.inFlight, f.id)
		d.leftRecipient(f)
		if f.room != nil {
			f.room.inFlight--
		}
	}
	f.out = nil
	if f.slow {
		d.engine.signs.forget(f.to())
	}
	d.engine.credits.give(f.credit)
	if f.member != nil && f.member.inFlight == f {
		f.member.inFlight = nil
	}
}

// complete ends a copy by its outcome.
func (d *delivery) complete(f *sentCopy, r evapi.Result) {
	mine := f.member != nil && f.member.inFlight == f
	if f.tries > 0 { // it was sent
		d.engine.credits.reached(d.at(f), d.age(f))
		if f.member != nil && f.tries == 1 && !r.Local && r.Code/100 == 2 {
			f.member.last = f.member.last.answered(d.age(f))
		}
	}
	d.abandon(f)
	d.engine.metrics.countDelivery(outcome(r))
	d.logDelivery(f, r)
	switch {
	case len(d.legs) > 0 && d.legs[f] != nil:
		d.legDone(d.legs[f], f, r)
	case len(d.brought) > 0 && d.brought[f] != nil:
		d.broughtCopy(d.brought[f], f, r)
	case f.stream != nil:
		d.noteDone(f, r)
	default:
		d.completeMember(f, r, mine)
	}
}

// completeMember takes the outcome of a copy for a member; mine reports that it was the first under way to it.
func (d *delivery) completeMember(f *sentCopy, r evapi.Result, mine bool) {
	m := f.member
	if !mine {
		d.completeAhead(f, r)
		return
	}
	if !m.live {
		if v := judge(r); v.final() && f.notice == noLossNotice { // the commit of its leaving may fail
			m.cursor = max(m.cursor, f.seq)
			d.engine.metrics.dropped.Add(float64(f.missed))
			if v > known && f.seq > 0 && f.missed == 0 {
				m.oweLossNotice()
			}
		}
		return
	}
	m.last = m.last.with(r.Code, d.now)
	d.settle(f, r)
	d.advance(f.room, m, r)
	d.setReady(f.room, m)
}

// notSent gives back the credit of a copy that was not sent. seen is credits.drained before the try.
func (d *delivery) notSent(k credit, seen uint64, err error) {
	if errors.Is(err, evapi.ErrFull) {
		d.engine.credits.refused(d.inbox, k, seen)
	} else {
		d.engine.credits.give(k)
	}
}

// retryable reports whether a new try may succeed.
func retryable(err error) bool { return errors.Is(err, evapi.ErrDown) || errors.Is(err, evapi.ErrFull) }

// When a user registers, a copy under way may have gone to a device that is not there any more: its
// outcome takes long, or never comes. So it is sent again to the new device, with the same Call-ID. Each
// sending is a try. The copy has arrived when one try has, and has failed when all have.

const (
	// maxRepeats bounds the tries of one copy that have no outcome. A further registration lets the copy go
	// again once they have failed.
	maxRepeats = 4
	// answerTime is how long a device may take to answer a copy. A user who registers later has not got it,
	// or does not answer.
	answerTime = time.Second
)

// again lets a copy under way be sent once more, as its user has registered.
func (d *delivery) again(f *sentCopy) {
	if l := d.legs[f]; l != nil {
		l.fork.copy.back = true
	}
	f.back = true
	switch {
	case f.tries >= maxRepeats || f.repeats:
		// It is tried again at once when these have failed.
	case d.age(f) < burstTime:
		f.early = true // see ageCopies: a user who registers and asks something at once need not get two answers
	case d.kills(f):
		f.silent++
		d.complete(f, evapi.Result{CallID: f.id, Code: 408, Reason: "registered again without an answer"})
	default:
		f.repeats = true
		d.repeats = append(d.repeats, f)
	}
}

// unanswered reports whether a device would have answered f by now.
func (d *delivery) unanswered(f *sentCopy) bool { return d.age(f) >= answerTime }

// kills reports whether the phone may crash because of f: it has registered again without an answer.
func (d *delivery) kills(f *sentCopy) bool {
	return f.stream == nil && d.legs[f] == nil && f.notice == noLossNotice && f.missed == 0 && d.unanswered(f) &&
		d.isPoison(f.member.wait, f.seq, int(f.silent)+1)
}

// repeat sends f again, unless its member has left. False: it cannot be sent now.
func (d *delivery) repeat(f *sentCopy) bool {
	l := d.legs[f]
	if f.stream == nil && (!f.member.live || f.member.inFlight != f && !f.ahead && l == nil) {
		f.repeats = false
		return true
	}
	c := weigh(f.out.BodyLen())
	if !d.engine.credits.take(d.inbox, c) {
		return false
	}
	cp, user := evapi.Copy{Out: f.out, CallID: f.id, First: f.stream != nil}, ""
	switch {
	case cp.First:
		cp.To, user = f.stream.user.URI(), f.stream.key
	case l != nil:
		cp.To, cp.Device, cp.CallID, user = f.member.uri, l.lane.device.row.GRUU, l.fork.id, f.member.key
	default:
		cp.To, user = f.member.uri, f.member.key
	}
	seen := d.engine.credits.drained.Load()
	conn, more, err := d.sendTo(f.conn, f, user, cp)
	if err != nil {
		d.notSent(c, seen, err)
		f.repeats = retryable(err)
		return !f.repeats
	}
	f.repeats = false
	d.engine.credits.give(f.credit)
	f.credit, f.conn = c, conn
	if d.unanswered(f) {
		f.silent++
	}
	d.engine.metrics.repeated.Inc()
	d.sent(f)
	f.tries += more
	return true
}

// worse is the outcome that counts among two; a may be nil. An answer of a device counts more than
// silence, and silence more than "no device".
func worse(a *evapi.Result, b evapi.Result) evapi.Result {
	if a == nil || weight(judge(b)) < weight(judge(*a)) {
		return b
	}
	return *a
}

func weight(v verdict) int {
	switch v {
	case offline:
		return int(resend) - 1
	case gone:
		return int(resend) - 2
	case silent:
		return int(resend) - 3
	case retry:
		return int(resend) - 4
	case resend:
		return int(resend)
	}
	return int(v)
}

// at is when f was sent last, comparable among shards.
func (d *delivery) at(f *sentCopy) int64 { return d.began.UnixNano() + int64(f.since) }
