package engine

import (
	"sync"
	"sync/atomic"
	"time"

	"imcd/evapi"
)

const (
	// burstTime is how long a copy counts as fresh. A retransmission comes after 500 ms (RFC 3261, T1). A
	// copy without an answer by then waits for a device, not in a socket of Kamailio.
	burstTime = 250 * time.Millisecond
	// burstUnit is the size of a body that weighs as much as the rest of a request.
	burstUnit = 512
	// pacedBurst bounds the units of copies that were sent just now and have no answer, without max_burst:
	// so many responses fit Kamailio's socket if they all come at once. Just now is pacedSoon, which allows
	// 40,000 copies a second at any distance. It is longer for some seconds after the kernel has dropped
	// datagrams. Copies to near phones count longer, see delivery.stuck.
	pacedBurst = 200
	pacedSoon  = 5 * time.Millisecond
	// farTime is how long answers usually take if no phones are near. It is more than pacedBurst answers take on a slow
	// machine that is full, and tells at once that all phones have moved away. usualOf is the number of answers in this
	// average: those of about half a second. Quick ones count quickPart times in it: such a machine keeps most answers
	// waiting, but not all of them.
	farTime   = 16 * time.Millisecond
	usualOf   = 8192
	quickPart = 8
	// keepLess is what is left of credits.less from one report of the connections to the next.
	keepLess = 15.0 / 16
	// unpacedBurst and unpacedSoon are the same where the connection does not know what Kamailio has read:
	// copies that are too fast would wait in Kamailio, and delay other rooms.
	unpacedBurst = 40
	unpacedSoon  = 10 * time.Millisecond
	// sharedPart is the part of these bounds that holds for sharedTime after a copy of a small room: what
	// such rooms say waits behind the other copies, in Kamailio's socket and for its processes.
	sharedPart = 8
	sharedTime = 100 * time.Millisecond
	// unknownOutstanding bounds the copies under way until the connections have reported their bounds.
	unknownOutstanding = 1500
	// suspectsPart is the part for suspects: members that did not answer the last copy, or got none yet.
	suspectsPart = 4
	// wakePart is the part of the bounds that must be free before a shard is woken that waits: copies go in fewer and
	// larger batches, which are cheaper for Kamailio, too.
	wakePart = 2
	// firstMore is the part that notices and copies of small rooms may take beyond the bound of other copies.
	firstMore = 4
)

// credits bounds the copies under way in the whole engine. It counts fresh copies, which will be answered
// soon; suspects, which are copies older than burstTime, or to recipients that may not answer; and units
// of copies that were sent just now, so that their responses do not overrun Kamailio's sockets.
//
// Shards that want more than there is take turns: a shard that gets credits back does not take them again
// before waiting shards. They also wait while the queue of a connection is full.
type credits struct {
	limit int // fresh copies, as it is configured
	most  int // units, as configured; 0: automatic, see pacedBurst

	// turn is the shard whose turn it is; nil: no shard waits, or there is too little. Written under mu, as
	// drained is, which counts how often a queue was reported to be half empty.
	turn    atomic.Pointer[inbox]
	drained atomic.Uint64
	// answered is when the latest copy that has an answer was sent. usual is how long the last hundreds of
	// answers took on average. Both in nanoseconds.
	answered, usual atomic.Int64
	// soon is how long a copy counts as just sent, in nanoseconds. Written under mu.
	soon atomic.Int64
	// shares reports that large rooms leave space while small ones speak. Written under mu.
	shares atomic.Bool
	// small is when a copy of a small room was sent last, in nanoseconds since 1970; 0: long ago.
	small atomic.Int64

	mu       sync.Mutex // guards what follows
	bounds   evapi.Bounds
	known    bool // bounds are set
	full     bool // the queue of a connection is full
	used     int  // fresh copies
	suspects int
	units    int      // of copies that were sent just now
	waiters  []waiter // shards that wait for credits, in the order of their turns

	// less is by how many times fewer copies go since the kernel has dropped datagrams.
	less float64
}

// waiter is a shard that waits for credits.
type waiter struct {
	shard *inbox
	units int // that the next copy of the shard needs
}

// credit is the part of the bounds that one copy holds.
type credit struct {
	units   int32 // of the burst; 0 once it is not fresh any more
	suspect bool
}

// weigh returns the credit that a copy of size bytes needs.
func weigh(size int) credit { return credit{units: int32(1 + size/burstUnit)} }

// copies is how many fresh copies may be under way. Like the following methods, it is called with mu
// held.
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

// burstOfMany is burst for copies of large rooms.
func (c *credits) burstOfMany() int {
	if c.shared() {
		return c.burst() / sharedPart
	}
	return c.burst()
}

// shared reports whether large rooms must leave space: a small one has sent something just now.
func (c *credits) shared() bool {
	at := c.small.Load()
	return at != 0 && c.shares.Load() && time.Now().UnixNano()-at < int64(sharedTime)
}

// allFar reports whether phones are far, as far as most answers tell.
func (c *credits) allFar() bool { return c.usual.Load() >= int64(farTime) }

// justSent is how long a copy counts as just sent.
func (c *credits) justSent() time.Duration {
	if c.shared() {
		return time.Duration(c.soon.Load()) / sharedPart
	}
	return time.Duration(c.soon.Load())
}

// fits reports whether more units may be sent now, of most. One copy always may.
func fits(units, most, more int) bool { return units == 0 || units+more <= most }

// enough reports whether the next copy of a message may be sent.
func (c *credits) enough(units int) bool {
	return !c.full && c.used < c.copies() && fits(c.units, c.burstOfMany(), units)
}

// take reports whether one more copy of a message may be sent. If not, b is woken when it is its turn.
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

// takeFirst is take for notices and copies of small rooms: they do not wait for turns, and have some more
// credits.
func (c *credits) takeFirst(b *inbox, k credit) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	most, burst := c.copies(), c.burst()
	if c.used < most+max(1, most/firstMore) && fits(c.units, burst+burst/firstMore, int(k.units)) {
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
	for i := range c.waiters {
		if c.waiters[i].shard == b {
			c.waiters[i].units = int(k.units)
			return
		}
	}
	c.waiters = append(c.waiters, waiter{b, int(k.units)})
}

// refused takes a credit back because the queue of the connection is full. seen is drained from before
// the try.
func (c *credits) refused(b *inbox, k credit, seen uint64) {
	c.mu.Lock()
	c.full = c.drained.Load() == seen
	c.wait(b, k)
	c.mu.Unlock()
	c.give(k)
}

// drain says that connections take copies again.
func (c *credits) drain() {
	c.mu.Lock()
	c.drained.Add(1)
	c.full = false
	c.mu.Unlock()
	c.change(credit{}, 0)
}

// fit sets the bounds of the connections. It also ends the state that a queue is full, in case no
// connection has reported that.
func (c *credits) fit(b evapi.Bounds) {
	c.mu.Lock()
	if c.less = max(1, c.less*keepLess); b.Dropped > c.bounds.Dropped && c.known {
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
	c.shares.Store(c.most == 0)
	c.mu.Unlock()
	c.drain()
}

// mine reports whether b may take credits. The turn of the first waiting shard begins, whether it was
// woken or not.
func (c *credits) mine(b *inbox) bool {
	switch turn := c.turn.Load(); {
	case turn != nil:
		return turn == b
	case len(c.waiters) > 0 && c.waiters[0].shard == b:
		c.next()
		return true
	}
	return len(c.waiters) == 0
}

// next makes it the turn of the first waiting shard.
func (c *credits) next() *inbox {
	b := c.waiters[0].shard
	c.waiters = append(c.waiters[:0], c.waiters[1:]...)
	c.turn.Store(b)
	return b
}

// done ends the turn of b, if it has it.
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

// older says that the copy was not sent just now any more. After a probe the next copy goes at once.
func (c *credits) older(k *credit, probe bool) {
	c.mu.Lock()
	c.units -= int(k.units)
	wake := c.first(probe)
	c.mu.Unlock()
	if wake != nil {
		wake.signal()
	}
	k.units = 0
}

// reached says that a copy that was sent at a time has an answer after so long.
func (c *credits) reached(at int64, took time.Duration) {
	usual := c.usual.Load() // if another shard writes, too, one answer does not count
	more := int64(min(took, burstTime)) - usual
	if more < 0 {
		more *= quickPart
	}
	c.usual.Store(usual + more/usualOf)
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

// change takes n copies with a credit off. It wakes the first waiting shard once a part is free (wakePart).
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
		wake.signal()
	}
}

// first is the waiting shard to wake, now or when a part is free; nil: none.
func (c *credits) first(now bool) *inbox {
	if c.turn.Load() != nil || len(c.waiters) == 0 || !c.enough(c.waiters[0].units) {
		return nil
	}
	most, burst := c.copies(), c.burstOfMany()
	if !now && (c.used > most-most/wakePart || c.units > burst-burst/wakePart) {
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
