package engine

import (
	"errors"
	"time"

	"imcd/engine/store"
)

// What is tried again after an error waits longer after each failure, and the log says
// it once.

// longer is the wait after one more failure: twice what it was, from first to most.
func longer(wait, first, most time.Duration) time.Duration { return min(max(2*wait, first), most) }

// patience is the longest wait after err: what passes by itself is tried more often than
// what somebody has to mend.
func patience(err error) time.Duration {
	if errors.Is(err, store.ErrUnavailable) {
		return flushWaitAway
	}
	return flushWaitRefused
}

// outage tells the first of many failures, which is logged, from those that follow. The
// zero outage has seen none.
type outage struct{ last time.Time }

// failed notes a failure and reports whether it is the first of an outage: nothing has
// failed for longer than it takes until something is tried again.
func (o *outage) failed(now time.Time, err error) bool {
	first := o.last.IsZero() || now.Sub(o.last) > 2*patience(err)+quietTime
	o.last = now
	return first
}

// Bounds of the wait after cursors could not be written. It doubles from the first to
// one of the others: while the database is away, and when it refuses them.
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

// quietTime is how often, at most, the log says that something was refused: whoever
// finds out what the database refuses must not be able to fill the log with it.
const quietTime = 10 * time.Second

// quiet counts what is not logged.
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
