package engine

import (
	"container/heap"
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
