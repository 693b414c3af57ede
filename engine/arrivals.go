package engine

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A user who has just registered may not be found yet: several Kamailios share their registrations a moment later
// (dmq_usrloc, a database). So "not registered" is not believed for some time after a registration.

const (
	// settleFor is that time, and settleRetry the wait before a copy is sent again then.
	settleFor   = 5 * time.Second
	settleRetry = time.Second
	// maxArrivals bounds the users in half of arrivals; "not registered" is believed of further ones.
	maxArrivals = 1 << 16
)

// departFor is how long it is known that a device of a user has gone: messages that were accepted before may have to
// wait for their turn so long. After a restart, their users wait.
const departFor = 10 * time.Minute

// arrivals are the users who have registered, or of whom a device has gone, within a time. Shards read it when a copy
// was answered "not registered", or has arrived.
type arrivals struct {
	within time.Duration
	latest atomic.Int64 // when somebody did so last, in ns of Unix time

	mu     sync.Mutex
	now    map[uint64]times // by mu: by hash of Name.Key
	old    map[uint64]times // by mu: what now was before turned
	turned time.Time        // by mu
}

// times are the last ones at which a user was added, in ns of Unix time, the latest first; 0: there was none.
type times [4]int64

func newArrivals(within time.Duration) *arrivals {
	return &arrivals{within: within, now: make(map[uint64]times)}
}

// add notes that a user has registered, or a device has gone.
func (a *arrivals) add(userKey string, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at.Sub(a.turned) >= a.within {
		a.old, a.now, a.turned = a.now, make(map[uint64]times), at
	}
	if len(a.now) < maxArrivals {
		key := hash64(userKey)
		t := a.now[key]
		a.now[key] = times{at.UnixNano(), t[0], t[1], t[2]}
		a.latest.Store(max(a.latest.Load(), at.UnixNano()))
	}
}

// has reports whether a user is among them a moment before at.
func (a *arrivals) has(userKey string, at time.Time) bool {
	return a.between(userKey, at.Add(-a.within).UnixNano(), math.MaxInt64)
}

// between reports whether a user was added after one time, and before another one, in ns of Unix time.
func (a *arrivals) between(userKey string, from, to int64) bool {
	key, in := hash64(userKey), func(t int64) bool { return from < t && t < to }
	a.mu.Lock()
	defer a.mu.Unlock()
	now, old := a.now[key], a.old[key]
	return slices.ContainsFunc(now[:], in) || slices.ContainsFunc(old[:], in)
}
