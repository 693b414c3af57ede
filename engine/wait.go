package engine

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// wait is why a member has not got its next message, and when it is tried again. It
// lasts until something arrives. Owned by its shard.
type wait struct {
	room   *room
	member *member
	due    time.Time
	index  int // in the heap; -1: not in it, the member is being tried

	why       verdict   // of the last try; arrived: none since imcd was started
	since     time.Time // when the first of the tries that failed in a row had failed
	tried     time.Time // when the last of them had
	notBefore time.Time // what a Retry-After asked for; zero: nothing
	tries     int       // that failed in a row

	unread time.Duration // the last wait because what m has missed could not be loaded; 0: it could

	seq       uint64 // of the message that the following are about
	silent    int    // tries that nobody answered
	malformed int    // tries that were answered 400
	words     int    // wordPoison that was not answered either
	back      bool   // the user has registered, or said something, since the first of the silent ones
	looked    bool   // the first message of this try was loaded
}

// waits is a heap of members by the time at which they are due.
type waits []*wait

func (w waits) Len() int           { return len(w) }
func (w waits) Less(i, j int) bool { return w[i].due.Before(w[j].due) }
func (w waits) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].index, w[j].index = i, j
}
func (w *waits) Push(x any) {
	x.(*wait).index = len(*w)
	*w = append(*w, x.(*wait))
}
func (w *waits) Pop() any {
	last := (*w)[len(*w)-1]
	(*w)[len(*w)-1] = nil
	*w = (*w)[:len(*w)-1]
	last.index = -1
	return last
}

// postpone lets m wait: until it registers, or for some time. f is the copy that failed.
func (s *shard) postpone(f *flight, v verdict, after time.Duration) {
	r, m := f.room, f.member
	w := m.wait
	if w == nil {
		w = &wait{room: r, member: m, index: -1}
	}
	if w.tries == 0 {
		w.since = s.now
	}
	w.note(f, v)
	w.why, w.tried, w.notBefore = v, s.now, s.now.Add(min(after, s.engine.cfg.RetryMax))
	d := s.engine.cfg.backoff(w.tries, after)
	if v == offline {
		d = s.engine.cfg.OfflineRetry
	}
	if f.back {
		d, w.tries = 0, 0 // the user has registered since the copy was sent
	} else {
		w.tries++
	}
	s.waitUntil(r, m, w, s.now.Add(d))
	s.engine.metrics.postponed(v)
}

// note counts what says something of the message itself.
func (w *wait) note(f *flight, v verdict) {
	if f.seq != w.seq {
		w.seq, w.silent, w.malformed, w.words, w.back = f.seq, 0, 0, 0, false
	}
	w.silent += int(f.silent)
	w.back = w.back || f.back
	switch {
	case v == silent:
		w.silent++
	case v == malformed:
		w.malformed++
	}
}

// waitUntil takes m out of the deliveries of r until some time.
func (s *shard) waitUntil(r *room, m *member, w *wait, due time.Time) {
	s.unfollow(r, m)
	s.caughtUp(m)
	s.dropPage(m)
	m.mode = waiting
	w.due = due
	s.await(m, w)
	s.markDirty(r)
}

// enterLater lets m, which did not keep up with its room before the engine was
// started, take part in the deliveries: soon, but not at once with all others.
func (s *shard) enterLater(r *room, m *member, cursor uint64) {
	m.live, m.cursor, m.mode = true, cursor, waiting
	s.await(m, &wait{room: r, member: m, index: -1, due: s.now.Add(rand.N(s.spread()))})
}

// hasten makes w the next to be resumed: its user is there.
func (s *shard) hasten(w *wait) {
	w.back = true
	w.tries = 0
	w.due = time.Time{}
	heap.Fix(&s.waits, w.index)
}

// spread is the time over which those who wait are tried.
func (s *shard) spread() time.Duration { return time.Duration(len(s.waits)+1) * hurryEach }

// await puts w among the waits. It may be there already: after a commit that failed a
// member may wait that has a copy under way.
func (s *shard) await(m *member, w *wait) {
	if w.index >= 0 {
		s.forgetWait(w)
	}
	m.wait = w
	heap.Push(&s.waits, w)
	s.engine.signs.await(m.key)
	if s.away[m.key] == nil {
		s.away[m.key] = make(map[*wait]struct{})
	}
	s.away[m.key][w] = struct{}{}
}

// resume ends a wait; what m has missed is loaded. The number of tries is kept
// until something arrives.
func (s *shard) resume(w *wait) {
	s.forgetWait(w)
	s.catching++
	w.looked = false
	w.member.resumed = true
	w.member.mode, w.member.excuse = behind, w.room.last
	s.setReady(w.room, w.member)
}

func (s *shard) forgetWait(w *wait) {
	if w.index >= 0 {
		heap.Remove(&s.waits, w.index)
		s.engine.signs.forget(w.member.key)
	}
	delete(s.away[w.member.key], w)
	if len(s.away[w.member.key]) == 0 {
		delete(s.away, w.member.key)
	}
}

// maxCatching bounds the members of a shard that catch up at a time: what each
// has missed is in memory meanwhile, as long as Kamailio takes for it.
const maxCatching = 128

// maxSilent bounds those of them who have not answered the last time and have given no
// sign of life since: each keeps its place for as long as a device may take. The others
// of them are looked at again after silentAgain.
const (
	maxSilent   = maxCatching / 2
	silentAgain = time.Second
)

// resumeDue tries again those whose time has come.
func (s *shard) resumeDue() {
	for len(s.waits) > 0 && s.catching < maxCatching && !s.waits[0].due.After(s.now) {
		if w := s.waits[0]; w.why == silent && !w.due.IsZero() && s.catching >= maxSilent {
			w.due = s.now.Add(silentAgain)
			heap.Fix(&s.waits, 0)
			continue
		}
		s.resume(s.waits[0])
	}
}

// caughtUp lets others catch up instead of m: it has, or waits again, or left.
func (s *shard) caughtUp(m *member) {
	if m.resumed {
		m.resumed = false
		s.catching--
	}
}

const (
	// frozenAfter is a gap between two rounds of a shard, which has a tick of a
	// fraction of that, after which it must have been stopped from outside.
	frozenAfter = 3 * time.Second
	// hurryEach spreads what hurry brings forward: a shard tries 100 a second.
	hurryEach = 10 * time.Millisecond
)

// hurry brings forward the next try of members that are offline: they may have
// registered without imcd being told.
func (s *shard) hurry() {
	s.excuse()
	s.hurryKept()
	spread := s.spread()
	for _, w := range s.waits {
		due := s.now.Add(rand.N(spread))
		if (w.why == offline || w.why == gone) && due.Before(w.due) {
			w.due = due
		}
	}
	heap.Init(&s.waits)
}
