package engine

import (
	"sync"
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

// arrivals are the users who have registered within settleFor. Shards read it when a copy was answered "not
// registered".
type arrivals struct {
	mu     sync.Mutex
	now    map[uint64]time.Time // by mu: hashes of Name.Key
	old    map[uint64]time.Time // by mu: what now was before turned
	turned time.Time            // by mu
}

func newArrivals() *arrivals { return &arrivals{now: make(map[uint64]time.Time)} }

// add notes that a user has registered.
func (a *arrivals) add(userKey string, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at.Sub(a.turned) >= settleFor {
		a.old, a.now, a.turned = a.now, make(map[uint64]time.Time), at
	}
	if len(a.now) < maxArrivals {
		a.now[hash64(userKey)] = at
	}
}

// has reports whether a user has registered a moment before at.
func (a *arrivals) has(userKey string, at time.Time) bool {
	key := hash64(userKey)
	a.mu.Lock()
	defer a.mu.Unlock()
	last, is := a.now[key]
	if !is {
		last, is = a.old[key]
	}
	return is && at.Sub(last) < settleFor
}
