package engine

import (
	"sync"
	"sync/atomic"
	"time"

	"imcd/evapi"
)

const (
	// burstTime is how long a copy counts as fresh. A retransmission comes
	// after 500 ms (RFC 3261, T1); what takes longer than this does not wait in
	// a socket of Kamailio but for a device.
	burstTime = 250 * time.Millisecond
	// burstUnit is how much of a body weighs as much as a request without one.
	burstUnit = 512
	// pacedBurst is how many units may have been sent just now and have no answer, without
	// max_burst: so many responses fit Kamailio's socket should they all come at once. Just
	// now is pacedSoon, so that 40,000 copies a second go to phones however far they are. It is
	// longer after datagrams did not fit. While near phones answer nothing that was
	// sent later, theirs count until burstTime: something is stuck, and all will answer at once.
	pacedBurst = 256
	pacedSoon  = 6 * time.Millisecond
	// unpacedBurst and unpacedSoon are the same where the connection does not know what
	// Kamailio has read: what is sent faster than Kamailio works waits there, in the way of
	// other rooms.
	unpacedBurst = 256
	unpacedSoon  = 50 * time.Millisecond
	// unknownOutstanding bounds the copies under way until the connections have said what
	// bounds them.
	unknownOutstanding = 1500
	// suspectsPart is the part of what may be under way that goes to suspects: members
	// that did not answer the last copy, or none yet.
	suspectsPart = 4
	// notesMore is the part that answers may take beside what copies of messages do.
	notesMore = 4
)

// credits bounds how many copies are under way at a time in the whole engine. Three
// things are counted: fresh copies, which will be answered soon; suspects, which are
// copies that have waited for burstTime, or whose recipients may not answer; and units of
// copies that were sent just now, so that Kamailio's sockets are not overrun by the
// responses.
//
// Shards that want more than there is take turns: who has credits back does not take
// them again before those who wait. They wait, too, while a connection's queue is full.
type credits struct {
	limit int // fresh copies, as it is configured
	most  int // units, as it is configured; 0: see pacedBurst

	// turn is the shard whose turn it is; nil: nobody waits, or there is too little. Written
	// under mu, as drained is: how often a queue was said to be half empty.
	turn    atomic.Pointer[inbox]
	drained atomic.Uint64
	// answered is when the latest copy was sent that has an answer, in nanoseconds.
	answered atomic.Int64
	// soon is how long a copy counts as just sent, in nanoseconds. Written under mu.
	soon atomic.Int64

	mu       sync.Mutex // guards what follows
	bounds   evapi.Bounds
	known    bool // bounds were told
	full     bool // a connection's queue is
	used     int  // fresh copies
	suspects int
	units    int      // of copies that were sent just now
	hungry   []hunger // shards that were refused, in the order of their turns

	// less is by how many times fewer copies go since datagrams did not fit Kamailio's socket.
	less float64
}

// hunger is a shard that waits for credits.
type hunger struct {
	shard *inbox
	units int // that its next copy needs
}

// credit is what one copy holds. Its flight's.
type credit struct {
	units   int32 // of the burst; 0 once it is not fresh any more
	suspect bool
}

// weigh returns the credit that a copy of size bytes needs.
func weigh(size int) credit { return credit{units: int32(1 + size/burstUnit)} }

// copies is how many fresh copies may be under way. It is called with mu held, as all
// that follow are.
func (c *credits) copies() int {
	switch {
	case !c.known:
		return min(c.limit, unknownOutstanding)
	case c.bounds.Copies > 0:
		return min(c.limit, c.bounds.Copies)
	}
	return c.limit
}

// burst is how many units may be without an answer.
func (c *credits) burst() int {
	switch {
	case c.most > 0:
		return c.most
	case c.bounds.Paced:
		return pacedBurst
	}
	return unpacedBurst
}

// fits tells whether so many more units may be sent now, of most. One copy always may.
func fits(units, most, more int) bool { return units == 0 || units+more <= most }

// enough tells whether there is what the next copy of a message needs.
func (c *credits) enough(units int) bool {
	return !c.full && c.used < c.copies() && fits(c.units, c.burst(), units)
}

// take reports whether one more copy of a message may be sent. If not, b is woken once it
// is its turn.
func (c *credits) take(b *inbox, k credit) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.enough(int(k.units)) && c.mine(b) {
		c.add(k)
		return true
	}
	c.wait(b, k)
	return false
}

// takeNote is take for an answer or a notice: it does not wait for the turns of copies of
// messages, and has some more.
func (c *credits) takeNote(b *inbox, k credit) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	most, burst := c.copies(), c.burst()
	if c.used < most+max(1, most/notesMore) && fits(c.units, burst+burst/notesMore, int(k.units)) {
		c.add(k)
		return true
	}
	c.wait(b, k)
	return false
}

// suspectsLeft is how many more copies may go to suspects.
func (c *credits) suspectsLeft() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(1, c.copies()/suspectsPart) - c.suspects
}

func (c *credits) add(k credit) {
	c.units += int(k.units)
	if k.suspect {
		c.suspects++
	} else {
		c.used++
	}
}

// wait notes that b wants credits.
func (c *credits) wait(b *inbox, k credit) {
	if c.turn.Load() == b {
		c.turn.Store(nil)
	}
	for i := range c.hungry {
		if c.hungry[i].shard == b {
			c.hungry[i].units = int(k.units)
			return
		}
	}
	c.hungry = append(c.hungry, hunger{b, int(k.units)})
}

// refused takes a credit back, as the connection's queue is full. seen is drained from
// before the copy was tried: it may have grown since.
func (c *credits) refused(b *inbox, k credit, seen uint64) {
	c.mu.Lock()
	c.full = c.drained.Load() == seen
	c.wait(b, k)
	c.mu.Unlock()
	c.give(k)
}

// drain says that copies can be sent again.
func (c *credits) drain() {
	c.mu.Lock()
	c.drained.Add(1)
	c.full = false
	c.mu.Unlock()
	c.change(credit{}, 0)
}

// fit takes what bounds the connections now. No queue counts as full any more, in case
// nobody has said so.
func (c *credits) fit(b evapi.Bounds) {
	c.mu.Lock()
	if c.less = max(1, c.less*15/16); b.Dropped > c.bounds.Dropped && c.known {
		c.less *= 2
	}
	c.bounds, c.known = b, true
	soon := unpacedSoon
	if b.Paced {
		soon = pacedSoon
	}
	if soon = min(time.Duration(float64(soon)*c.less), burstTime); c.most > 0 {
		soon = burstTime // as max_burst is documented
	}
	c.less = min(c.less, float64(burstTime/pacedSoon))
	c.soon.Store(int64(soon))
	c.mu.Unlock()
	c.drain()
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
	c.change(credit{}, 0)
}

// give returns a credit.
func (c *credits) give(k credit) { c.change(k, 1) }

// older says that the copy was not sent just now any more. A probe goes in its place at once.
func (c *credits) older(k *credit, probe bool) {
	c.mu.Lock()
	c.units -= int(k.units)
	wake := c.first(probe)
	c.mu.Unlock()
	if wake != nil {
		wake.ring()
	}
	k.units = 0
}

// reached says that a copy which was sent at a time has an answer.
func (c *credits) reached(at int64) {
	for {
		was := c.answered.Load()
		if at <= was || c.answered.CompareAndSwap(was, at) {
			return
		}
	}
}

// old says that the copy is not fresh any more: it waits for a device.
func (c *credits) old(k *credit) {
	if k.suspect {
		return
	}
	c.mu.Lock()
	c.suspects++
	c.mu.Unlock()
	c.change(*k, 1)
	*k = credit{suspect: true}
}

// change takes n copies with a credit off, and wakes who is first of those who wait when a
// quarter is free, so that it finds more than one.
func (c *credits) change(k credit, n int) {
	c.mu.Lock()
	c.units -= int(k.units)
	if k.suspect {
		c.suspects -= n
	} else {
		c.used -= n
	}
	wake := c.first(false)
	c.mu.Unlock()
	if wake != nil {
		wake.ring()
	}
}

// first is who is to be woken, now or when a quarter is free; nil: nobody.
func (c *credits) first(now bool) *inbox {
	if c.turn.Load() != nil || len(c.hungry) == 0 || !c.enough(c.hungry[0].units) {
		return nil
	}
	if most, burst := c.copies(), c.burst(); !now && (c.used > most-most/4 || c.units > burst-burst/4) {
		return nil
	}
	return c.next()
}

// inUse counts all copies under way.
func (c *credits) inUse() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used + c.suspects
}
