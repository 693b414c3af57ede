package engine

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// postpone lets the member of f, which failed, wait until it registers, or for some time.
func (d *delivery) postpone(f *sentCopy, v verdict, after time.Duration) {
	r, m := f.room, f.member
	w := m.wait
	if w == nil {
		w = &wait{room: r, member: m, index: -1}
	}
	if w.tries == 0 {
		w.since = d.now
	}
	w.note(f, v)
	w.why, w.tried, w.notBefore = v, d.now, d.now.Add(min(after, d.engine.cfg.RetryMax))
	pause := d.engine.cfg.backoff(w.tries, after)
	if v == offline {
		pause = d.engine.cfg.OfflineRetry
		if d.engine.arrivals.has(m.key, d.now) {
			pause = min(settleRetry, pause)
		}
	}
	if f.back {
		pause, w.tries = 0, 0 // the user has registered since the copy was sent
	} else {
		w.tries++
	}
	d.waitUntil(r, m, w, d.now.Add(pause))
	d.engine.metrics.postponed(v)
}

// waitUntil takes m out of the deliveries of r until some time.
func (d *delivery) waitUntil(r *room, m *member, w *wait, due time.Time) {
	d.unfollow(r, m)
	d.caughtUp(m)
	d.dropPage(m)
	m.mode = waiting
	w.due = due
	d.await(m, w)
	d.markDirty(r)
}

// spread is the time over which waiting members are tried.
func (d *delivery) spread() time.Duration { return time.Duration(len(d.waits)+1) * hurryEach }

// await adds w to the waits. It may be there already: after a failed commit a waiting member may have a
// copy under way.
func (d *delivery) await(m *member, w *wait) {
	if w.index >= 0 {
		d.forgetWait(w)
	}
	m.wait = w
	heap.Push(&d.waits, w)
	d.engine.signs.await(m.key)
	if d.away[m.key] == nil {
		d.away[m.key] = make(map[*wait]struct{})
	}
	d.away[m.key][w] = struct{}{}
}

func (d *delivery) forgetWait(w *wait) {
	if w.index >= 0 {
		heap.Remove(&d.waits, w.index)
		d.engine.signs.forget(w.member.key)
	}
	delete(d.away[w.member.key], w)
	if len(d.away[w.member.key]) == 0 {
		delete(d.away, w.member.key)
	}
}

// frozenAfter is a gap between two rounds of a shard after which the process must have been stopped.
const frozenAfter = 3 * time.Second

// hurry brings forward the next try of members that are offline: their registrations may have been
// missed.
func (d *delivery) hurry() {
	d.exemptReady()
	d.hurryKept()
	spread := d.spread()
	for _, w := range d.waits {
		due := d.now.Add(rand.N(spread))
		if (w.why == offline || w.why == gone) && due.Before(w.due) {
			w.due = due
		}
	}
	heap.Init(&d.waits)
}

// Bounds of the tries that a message brings forward. A room of 10,000 members of which 9,000 are away
// costs 10 more copies a second, which Kamailio answers at once; each of them is tried every 15 minutes,
// which is offline_retry. Up to 30 such members are tried every sign_every.
const (
	probesRoom  = 10 // a second and room
	probesShard = 25 // a second and shard
	// probesOpen bounds the members of a shard that are being tried.
	probesOpen = maxCatching / 2
	// refusesEvery is how many times rarer a member is tried that is there and does not take the message.
	refusesEvery = 10
)

// probe brings forward the next try of waiting members of r, because there is a new message: as many as
// the bounds allow, one after the other.
func (d *delivery) probe(r *room) {
	left := probesOpen - d.catching
	for range r.order {
		if left <= 0 {
			return
		}
		if r.probed++; r.probed >= len(r.order) {
			r.probed = 0
		}
		w := r.order[r.probed].wait
		if w == nil || w.index < 0 {
			continue
		}
		at := d.mayProbe(w)
		if !at.Before(w.due) {
			continue
		}
		if !r.probes.take(d.now, probesRoom) || !d.probes.take(d.now, probesShard) {
			r.probed-- // its turn is next time
			return
		}
		left--
		w.due = at
		heap.Fix(&d.waits, w.index)
	}
}

// mayProbe is the time from which on w may be tried again.
func (d *delivery) mayProbe(w *wait) time.Time {
	every := d.engine.cfg.SignEvery
	if w.why == retry || w.why == malformed {
		every *= refusesEvery
	}
	at := w.tried.Add(every)
	for _, other := range []time.Time{d.now, w.notBefore} {
		if other.After(at) {
			at = other
		}
	}
	return at
}

// backoff is the wait before a copy is sent again. It doubles with each try, half of it is random, and a
// Retry-After is its minimum.
func (c *Config) backoff(tries int, after time.Duration) time.Duration {
	d := c.RetryMax
	if tries < 20 {
		d = min(c.RetryMin<<tries, c.RetryMax)
	}
	d = d/2 + rand.N(d/2+1)
	return max(d, min(after, c.RetryMax))
}

// hasten makes w the next wait to end: its user is there.
func (d *delivery) hasten(w *wait) {
	w.back = true
	w.tries = 0
	w.due = time.Time{}
	heap.Fix(&d.waits, w.index)
}

// enterLater lets m, which lagged when the engine ended, take part: soon, but not at once with all
// others.
func (d *delivery) enterLater(r *room, m *member, cursor uint64) {
	m.live, m.cursor, m.mode = true, cursor, waiting
	d.await(m, &wait{room: r, member: m, index: -1, due: d.now.Add(rand.N(d.spread()))})
}
