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
