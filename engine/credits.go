package engine

import "sync"

// credits bounds how many copies are under way at a time in the whole engine,
// so that Kamailio's memory and the recipients' sockets are not overrun.
type credits struct {
	limit int

	mu     sync.Mutex
	used   int
	hungry []*inbox // shards that were refused, to be woken
}

// take reports whether one more copy may be sent. If not, b is woken once there
// is room again.
func (c *credits) take(b *inbox) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used < c.limit {
		c.used++
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

// give returns one credit. Those who wait are woken when a quarter is free, so
// that they find more than one.
func (c *credits) give() {
	c.mu.Lock()
	c.used--
	var wake []*inbox
	if c.used <= c.limit-c.limit/4 && len(c.hungry) > 0 {
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
