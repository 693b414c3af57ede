package engine

import "imcd/evapi"

// settle moves or postpones a member by the outcome of a copy.
func (d *delivery) settle(f *sentCopy, res evapi.Result) {
	m, v := f.member, judge(res)
	if d.age(f) > ownPace || v == resend {
		m.exempt = f.room.last // the next one is late because of the member, not of the load
	}
	if v == malformed && m.wait != nil && m.wait.seq == f.seq && m.wait.malformed+1 >= malformedTries {
		v = refused
	}
	switch {
	case v == resend:
	case f.notice != noLossNotice:
		d.lossNoticeDone(f, v, res)
	case f.seq == 0: // a notice is not sent again
		d.passOne(f)
		if v.final() || v == malformed {
			m.wait = nil // its phone answers
		}
	case v == arrived || v == known:
		d.passOne(f)
		if m.wait != nil {
			d.engine.heard(m.name()) // other rooms may have something for it, too
		}
		if m.wait != nil || d.departed(f) {
			d.oweAbsent(f, m.wait)
		}
		m.wait = nil
		if f.missed == 0 {
			d.tookAll(f.room, m)
			d.reached(f.room, m, f.seq)
		}
		if v == arrived {
			m.deaf = false
			d.engine.metrics.arrived(d.clock(d.now)-f.at, f)
			d.arrivedLate(f)
		}
	case v.final():
		d.failed(f, outcome(res), res.Code)
		d.passOne(f)
		m.wait = nil
		why := lossRefused
		if v == unsendable {
			why = lossUnsendable
		}
		if f.missed == 0 { // else it was a notice of others, which are counted
			d.noteLoss(f.room, m, f.seq, why, res.Code)
			m.oweLossNotice()
		}
	default:
		d.failed(f, outcome(res), res.Code)
		d.postpone(f, v, res.RetryAfter)
		d.sayMissed(f.room, m)
		if v == offline || v == gone || v == silent {
			d.eachOpen(f.room, func(o *openReceipt) { o.delivered.without(m) })
		}
	}
}

// lossNoticeDone takes the outcome of a notice of losses.
func (d *delivery) lossNoticeDone(f *sentCopy, v verdict, res evapi.Result) {
	m := f.member
	if !v.final() && v != malformed {
		d.postpone(f, v, res.RetryAfter)
		if f.notice == noticePoison {
			m.wait.silent = 0
			m.wait.poisonNotices++
		}
		return
	}
	m.wait, m.deaf = nil, v > known
	switch {
	case f.notice == noticePoison:
		d.passOne(f)
		d.noteLoss(f.room, m, f.seq, lossPoison, 408)
	case m.deaf:
		m.unshown = 0
	default:
		m.unshown -= f.losses
	}
}

// maxPoisonNotices bounds how rare these notices become. An unanswered one shows that the message is not
// the cause, so twice as many tries of the message come before the next notice.
const maxPoisonNotices = 10

// failed publishes that a copy of a message has not arrived.
func (d *delivery) failed(f *sentCopy, outcome string, code int) {
	if f.seq == 0 || f.missed > 0 || !d.engine.wants(EventFailure) {
		return
	}
	ev := &Event{Kind: EventFailure, Time: d.now, Room: f.room.name, User: f.member.name(),
		Seq: f.seq, Code: code, Outcome: outcome}
	d.engine.events.publish(ev)
	if w := f.member.wait; d.engine.webhook.wants(EventFailure) && (w == nil || w.tries == 0 || outcome == "refused") {
		d.raise(ev, f.room) // a webhook gets the first of several tries
	}
}

// An accepted message that never reaches a member is a loss. It is counted, logged and shown with the
// member, and the member gets a notice in its place. If the phone refuses that notice as well, there are
// no more notices until something has arrived.

// isPoison reports whether the message of a number is not tried again until m has answered something
// else. silent is the number of unanswered tries that w does not count yet.
func (d *delivery) isPoison(w *wait, seq uint64, silent int) bool {
	most := d.engine.cfg.PoisonTries
	if w != nil && w.seq == seq {
		silent += w.silent
		most <<= min(w.poisonNotices, maxPoisonNotices)
	}
	return most > 0 && seq > 0 && silent >= most
}
