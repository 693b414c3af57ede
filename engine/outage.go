package engine

import (
	"errors"
	"time"

	"imcd/engine/store"
)

// After an error, a new try waits longer after each failure, and the log has one line.

// longer is the wait after one more failure: it doubles, from first to most.
func longer(wait, first, most time.Duration) time.Duration { return min(max(2*wait, first), most) }

// patience is the longest wait after err: an outage ends by itself, other errors need a person.
func patience(err error) time.Duration {
	if errors.Is(err, store.ErrUnavailable) {
		return flushWaitAway
	}
	return flushWaitRefused
}

// outage recognises the first of many failures, which is logged. The zero outage has seen none.
type outage struct{ last time.Time }

// failed notes a failure and reports whether it is the first of an outage.
func (o *outage) failed(now time.Time, err error) bool {
	first := o.last.IsZero() || now.Sub(o.last) > 2*patience(err)+quietTime
	o.last = now
	return first
}

// Bounds of the wait after cursors could not be written: the first one, and the longest while the
// database is away, and when it refuses them.
const (
	flushWaitMin     = 250 * time.Millisecond
	flushWaitAway    = 4 * time.Second
	flushWaitRefused = time.Minute
)

// newStoppedTimer makes a timer that waits for its first Reset.
func newStoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// quietTime is how often, at most, the log says that the database refuses a change, so that nobody can
// fill the log.
const quietTime = 10 * time.Second

// quiet counts lines that are not logged.
type quiet struct {
	last    time.Time
	skipped int
}

// next reports whether to log now, and how much was skipped before.
func (q *quiet) next(now time.Time) (skipped int, ok bool) {
	if !q.last.IsZero() && now.Sub(q.last) < quietTime {
		q.skipped++
		return 0, false
	}
	skipped, q.skipped, q.last = q.skipped, 0, now
	return skipped, true
}
