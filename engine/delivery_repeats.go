package engine

import (
	"time"

	"imcd/evapi"
)

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
	return f.stream == nil && f.notice == noLossNotice && f.missed == 0 && d.unanswered(f) &&
		d.isPoison(f.member.wait, f.seq, int(f.silent)+1)
}

// repeat sends f again, unless its member has left. False: it cannot be sent now.
func (d *delivery) repeat(f *sentCopy) bool {
	if f.stream == nil && (!f.member.live || f.member.inFlight != f && !f.ahead) {
		f.repeats = false
		return true
	}
	c := weigh(f.out.BodyLen())
	if !d.engine.credits.take(d.inbox, c) {
		return false
	}
	cp := evapi.Copy{Out: f.out, CallID: f.id, First: f.stream != nil}
	if cp.First {
		cp.To = f.stream.user.URI()
	} else {
		cp.To = f.member.uri
	}
	seen := d.engine.credits.drained.Load()
	conn, err := d.engine.relay.Send(f.conn, cp)
	if err != nil {
		d.notSent(c, seen, err)
		f.repeats = later(err)
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
