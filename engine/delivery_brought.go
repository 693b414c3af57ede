package engine

import (
	"slices"

	"imcd/evapi"
)

// A device that comes back gets as many messages of a room at a time as a member does (delivery_window.go). Outcomes
// count in the order of the room, so that the place in the database from which on the device is owed something never
// passes a message that it has not got. If one fails, those behind it that the device has got are not sent again, also
// when it comes back once more; after a restart of imcd they are, with the same Call-IDs.

// mayBring reports whether the next message may be sent. The first one goes alone until the device has answered, and
// after a failure.
func (f *backlog) mayBring(window int) bool {
	if f.page == nil || f.next+len(f.window) >= len(f.page.items) {
		return false
	}
	n := 0
	for _, b := range f.window {
		if b.sent {
			n++
		}
	}
	return n == 0 || n < window && f.answers && f.failed == 0
}

// passGot moves f over the messages that the device has got, and over those that it need not get.
func (f *backlog) passGot() {
	for len(f.window) > 0 && f.window[0].got() {
		if b := f.window[0]; !b.line {
			f.after = b.seq
		}
		f.window[0] = nil
		f.window = f.window[1:]
		f.next++
		f.failed = 0
	}
	f.moved()
}

// moved notes the place of f.
func (f *backlog) moved() {
	if f.next < len(f.page.items) {
		f.place.Store(f.page.items[f.next].at.UnixMilli())
	}
}

// scatter forgets the order of the messages behind one that has failed.
func (f *backlog) scatter() {
	f.apart = slices.DeleteFunc(append(f.apart, f.window...), func(b *brought) bool {
		return !b.sent || b.over && !b.got() || b.seq <= f.after
	})
	f.window = nil
}

// apartOf is a message behind one that has failed, if it is still under way, or the device has got it; else nil.
func (f *backlog) apartOf(item *pageItem) *brought {
	i := slices.IndexFunc(f.apart, func(b *brought) bool {
		return b.seq == item.seq && b.line == item.line && (!b.over || b.got())
	})
	if i < 0 {
		return nil
	}
	return f.apart[i]
}

// broughtCopy takes the outcome of a copy of a backlog.
func (d *delivery) broughtCopy(b *brought, c *sentCopy, res evapi.Result) {
	delete(d.brought, c)
	b.over, b.outcome = true, res
	f := b.backlog
	if f.done == nil {
		return
	}
	if slices.Contains(f.window, b) {
		f.answers = f.answers || b.got()
		f.passGot()
	}
	switch {
	case len(f.window) > 0 && f.window[0].over:
		d.notBrought(f, f.window[0].outcome)
	case f.failed == 0:
		d.bringNext(f)
	}
}

// notBrought takes a failure of the first message under way.
func (d *delivery) notBrought(f *backlog, res evapi.Result) {
	f.scatter()
	switch v := judge(res); v {
	case offline, gone:
		d.endBacklog(f, errNotNow)
	case silent:
		d.endBacklog(f, errNotTaken)
	default:
		if f.failed++; f.failed >= backlogTries {
			d.endBacklog(f, errNotTaken)
			return
		}
		f.due = d.now.Add(d.engine.cfg.backoff(f.failed, res.RetryAfter))
		if v == resend {
			f.due = d.now.Add(backlogPoll)
		}
	}
}
