package engine

import (
	"sync"
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
type credits struct {
	limit int // copies
	burst int // units

	mu     sync.Mutex // guards what follows
	used   int
	fresh  int      // units of copies that were sent just now
	hungry []*inbox // shards that were refused, to be woken
}

// credit is what one copy holds. Its flight's.
type credit struct {
	units int // of the burst; 0 once it is not fresh any more
}

// weigh returns the credit that a copy of size bytes needs.
func weigh(size int) credit { return credit{units: 1 + size/burstUnit} }

// take reports whether one more copy may be sent. If not, b is woken once there
// is room again.
func (c *credits) take(b *inbox, k credit) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used < c.limit && (c.fresh == 0 || c.fresh+k.units <= c.burst) {
		c.used++
		c.fresh += k.units
		return true
	}
	for _, h := range c.hungry {
		if h == b {
			return false
		}
	}
	c.hungry = append(c.hungry, b)
	return false
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

// change wakes those who wait when a quarter is free, so that they find more
// than one.
func (c *credits) change(copies, units int) {
	c.mu.Lock()
	c.used -= copies
	c.fresh -= units
	var wake []*inbox
	if len(c.hungry) > 0 && c.used <= c.limit-c.limit/4 && c.fresh <= c.burst-c.burst/4 {
		wake, c.hungry = c.hungry, nil
	}
	c.mu.Unlock()
	for _, b := range wake {
		b.ring()
	}
}

func (c *credits) inUse() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used
}
