package engine

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// wait is a member that is tried again later. Owned by its shard.
type wait struct {
	room    *room
	member  *member
	due     time.Time
	tries   int  // that failed in a row
	offline bool // it has no device, as far as is known
	index   int  // in the heap; -1: not in it
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

// putOff lets m wait: until it registers, or for some time.
func (s *shard) putOff(r *room, m *member, isOffline bool, after time.Duration) {
	w := m.wait
	if w == nil {
		w = &wait{room: r, member: m, index: -1}
	}
	d := s.engine.cfg.backoff(w.tries, after)
	if isOffline {
		d = s.engine.cfg.OfflineRetry
	}
	w.tries++
	w.offline = isOffline
	w.due = s.now.Add(d)
	s.unfollow(r, m)
	s.caughtUp(m)
	m.mode, m.page = waiting, nil
	s.await(m, w)
	s.engine.metrics.putOff(isOffline)
	s.markDirty(r)
}

// enterLater lets m, which did not keep up with its room before the engine was
// started, take part in the deliveries: soon, but not at once with all others.
func (s *shard) enterLater(r *room, m *member, cursor uint64) {
	m.live, m.cursor, m.mode = true, cursor, waiting
	s.await(m, &wait{room: r, member: m, index: -1, due: s.now.Add(rand.N(s.spread()))})
}

// spread is the time over which those who wait are tried.
func (s *shard) spread() time.Duration { return time.Duration(len(s.waits)+1) * hurryEach }

// await puts w among the waits.
func (s *shard) await(m *member, w *wait) {
	m.wait = w
	heap.Push(&s.waits, w)
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
	w.member.resumed = true
	w.member.mode, w.member.excuse = behind, w.room.last
	s.setReady(w.room, w.member)
}

func (s *shard) forgetWait(w *wait) {
	if w.index >= 0 {
		heap.Remove(&s.waits, w.index)
	}
	delete(s.away[w.member.key], w)
	if len(s.away[w.member.key]) == 0 {
		delete(s.away, w.member.key)
	}
}

// maxCatching bounds the members of a shard that catch up at a time: what each
// has missed is in memory meanwhile, as long as Kamailio takes for it.
const maxCatching = 128

// resumeDue tries again those whose time has come.
func (s *shard) resumeDue() {
	for len(s.waits) > 0 && s.catching < maxCatching && !s.waits[0].due.After(s.now) {
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
	spread := s.spread()
	for _, w := range s.waits {
		due := s.now.Add(rand.N(spread))
		if w.offline && due.Before(w.due) {
			w.due = due
		}
	}
	heap.Init(&s.waits)
}

// registered makes all that wait for a user the next to be resumed.
func (s *shard) registered(userKey string) {
	for w := range s.away[userKey] {
		w.due = time.Time{}
		heap.Fix(&s.waits, w.index)
	}
}
