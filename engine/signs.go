package engine

import (
	"container/heap"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"imcd/engine/store"
)

// Signs of life of somebody who could not be reached: a request of that user, or, as
// nothing else may tell, a message for it. They stand in where Kamailio does not report
// registrations (route(IMC_REGISTERED)), or another Kamailio has them.

// Bounds of the tries that a message brings forward. A room of 10,000 members of whom
// 9,000 are away costs 10 copies a second more while something is said in it, which
// Kamailio answers at once; so each of them is tried every 15 minutes, which is
// offline_retry. Up to 30 members that are away are tried every sign_every.
const (
	probesRoom  = 10 // a second and room
	probesShard = 25 // a second and shard
	// probesOpen bounds the members of a shard that are being tried; those who do not
	// answer keep a place for some seconds.
	probesOpen = maxCatching / 2
	// refusesEvery is how many times rarer somebody is tried who is there and does not
	// take the message.
	refusesEvery = 10
)

// signs knows the users whose requests tell something: those who wait for something in
// some room, or have not answered for a moment. Shards write it and readers of
// connections read it, hence the lock.
type signs struct {
	some atomic.Int64 // users with a reason; without any a request costs no more than to look here

	mu    sync.Mutex
	users map[string]*unheard // guarded by mu; by user key
	kept  int                 // guarded by mu; of them, those without a reason any more, or fewer
}

// unheard is a user whose next request tells something.
type unheard struct {
	n    int       // reasons for that
	last time.Time // when the last request did
}

func newSigns() *signs { return &signs{users: make(map[string]*unheard)} }

// await notes one reason to listen for a user.
func (s *signs) await(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[user]
	if u == nil {
		u = &unheard{}
		s.users[user] = u
	}
	if u.n++; u.n == 1 {
		s.some.Add(1)
	}
}

// forget takes one reason away.
func (s *signs) forget(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[user]
	if u == nil {
		return
	}
	if u.n--; u.n > 0 {
		return
	}
	if s.some.Add(-1); u.last.IsZero() {
		delete(s.users, user)
		return
	}
	// It says when the user was heard last, for a while.
	if s.kept++; s.kept > keptSigns && int64(s.kept) > s.some.Load() {
		s.sweep()
	}
}

// sweep deletes all without a reason.
func (s *signs) sweep() {
	s.kept = 0
	maps.DeleteFunc(s.users, func(_ string, u *unheard) bool { return u.n == 0 })
}

// keptSigns is how many users are kept for whom there is no reason any more.
const keptSigns = 1024

// heard reports whether a request of a user is a sign that somebody waits for, and the
// first within a time.
func (s *signs) heard(user store.Name, now time.Time, every time.Duration) bool {
	if s.some.Load() == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[user.Key()]
	if u == nil || u.n == 0 || now.Sub(u.last) < every {
		return false
	}
	u.last = now
	return true
}

// heard says that a user has sent something.
func (e *Engine) heard(user store.Name) {
	if user.IsZero() || !e.signs.heard(user, time.Now(), e.cfg.SignEvery) {
		return
	}
	key := user.Key()
	for _, s := range e.shards {
		s.inbox.heard(key, false)
	}
}

// bucket is how many of something may be done now. Owned by its shard.
type bucket struct {
	left float64
	at   time.Time // when left was right
}

// take reports whether one more may be done, of so many a second.
func (b *bucket) take(now time.Time, perSecond float64) bool {
	b.left = min(perSecond, b.left+now.Sub(b.at).Seconds()*perSecond)
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// probe brings forward the next try of members of r that wait, because there is a new
// message: as many as the bounds allow, one after the other.
func (s *shard) probe(r *room) {
	left := probesOpen - s.catching
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
		at := s.mayProbe(w)
		if !at.Before(w.due) {
			continue
		}
		if !r.probes.take(s.now, probesRoom) || !s.probes.take(s.now, probesShard) {
			r.probed-- // the next time it is its turn
			return
		}
		left--
		w.due = at
		heap.Fix(&s.waits, w.index)
	}
}

// mayProbe is from when on w may be tried again.
func (s *shard) mayProbe(w *wait) time.Time {
	every := s.engine.cfg.SignEvery
	if w.why == retry || w.why == malformed {
		every *= refusesEvery
	}
	at := w.tried.Add(every)
	for _, other := range []time.Time{s.now, w.notBefore} {
		if other.After(at) {
			at = other
		}
	}
	return at
}
