package engine

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"imcd/engine/store"
)

// A sign of a user who could not be reached is a request of that user, or, less certain, a message for
// the user. Signs help where Kamailio does not report registrations (route(IMC_REGISTERED)), or another
// Kamailio has them.

// signs has the users whose requests matter: those that wait in some room, or have not answered for a
// moment. Shards write it and readers of connections read it, hence the lock.
type signs struct {
	some atomic.Int64 // users with a reason; with none, a request costs one load

	mu    sync.Mutex
	users map[string]*unheard // guarded by mu; by user key
	kept  int                 // guarded by mu: an upper bound of users without a reason
}

// unheard is a user whose next request matters.
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
	// It is kept for last.
	if s.kept++; s.kept > keptSigns && int64(s.kept) > s.some.Load() {
		s.sweep()
	}
}

// sweep deletes all without a reason.
func (s *signs) sweep() {
	s.kept = 0
	maps.DeleteFunc(s.users, func(_ string, u *unheard) bool { return u.n == 0 })
}

// keptSigns is how many users without a reason are kept.
const keptSigns = 1024

// heard reports whether a request of a user matters, and is the first within a time.
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
