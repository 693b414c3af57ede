package engine

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// burstTime is how long a copy counts as just sent. A retransmission comes
	// after 500 ms (RFC 3261, T1); what takes longer than this does not wait in
	// a socket of Kamailio but for a device.
	burstTime = 250 * time.Millisecond
	// burstUnit is how much of a body weighs as much as a request without one.
	burstUnit = 512
)

// credits bounds how many copies are under way at a time in the whole engine, so
// that Kamailio's memory is not overrun, and how many of them were sent just
// now, so that the sockets are not: a datagram that finds no room there is sent
// again after half a second, with all others that found none.
//
// Shards that want more than there is take turns: who has credits back does not take
// them again before those who wait.
type credits struct {
	limit int // copies
	burst int // units

	turn atomic.Pointer[inbox] // the shard whose turn it is; nil: nobody waits, or there is too little. Written under mu

	mu     sync.Mutex // guards what follows
	used   int
	fresh  int      // units of copies that were sent just now
	hungry []hunger // shards that were refused, in the order of their turns
}

// hunger is a shard that waits for credits.
type hunger struct {
	shard *inbox
	units int // that its next copy needs
}

// credit is what one copy holds. Its flight's.
type credit struct {
	units int // of the burst; 0 once it is not fresh any more
}

// weigh returns the credit that a copy of size bytes needs.
func weigh(size int) credit { return credit{units: 1 + size/burstUnit} }

// take reports whether one more copy may be sent. If not, b is woken once it is its
// turn.
func (c *credits) take(b *inbox, k credit) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used < c.limit && c.room(k.units) && c.mine(b) {
		c.used++
		c.fresh += k.units
		return true
	}
	if c.turn.Load() == b {
		c.turn.Store(nil)
	}
	for i := range c.hungry {
		if c.hungry[i].shard == b {
			c.hungry[i].units = k.units
			return false
		}
	}
	c.hungry = append(c.hungry, hunger{b, k.units})
	return false
}

// mine tells whether b may take what is there. Who is first of those who wait need
// not have been woken: its turn begins.
func (c *credits) mine(b *inbox) bool {
	switch turn := c.turn.Load(); {
	case turn != nil:
		return turn == b
	case len(c.hungry) > 0 && c.hungry[0].shard == b:
		c.next()
		return true
	}
	return len(c.hungry) == 0
}

// room tells whether so many more units may be sent now. There is always room for
// one copy.
func (c *credits) room(units int) bool { return c.fresh == 0 || c.fresh+units <= c.burst }

// next makes it the turn of the first of those who wait.
func (c *credits) next() *inbox {
	b := c.hungry[0].shard
	c.hungry = append(c.hungry[:0], c.hungry[1:]...)
	c.turn.Store(b)
	return b
}

// done ends the turn of b, if it is its turn, with what it has left over.
func (c *credits) done(b *inbox) {
	if c.turn.Load() != b {
		return
	}
	c.mu.Lock()
	c.turn.Store(nil)
	c.mu.Unlock()
	c.change(0, 0)
}

// give returns a credit.
func (c *credits) give(k credit) { c.change(1, k.units) }

// ripen says that the copy was not sent just now any more.
func (c *credits) ripen(k *credit) {
	if k.units > 0 {
		c.change(0, k.units)
		k.units = 0
	}
}

// change wakes who is first of those who wait when a quarter is free, so that it
// finds more than one.
func (c *credits) change(copies, units int) {
	c.mu.Lock()
	c.used -= copies
	c.fresh -= units
	var wake *inbox
	if c.turn.Load() == nil && len(c.hungry) > 0 && c.used < c.limit && c.used <= c.limit-c.limit/4 &&
		c.fresh <= c.burst-c.burst/4 && c.room(c.hungry[0].units) {
		wake = c.next()
	}
	c.mu.Unlock()
	if wake != nil {
		wake.ring()
	}
}

func (c *credits) inUse() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used
}
