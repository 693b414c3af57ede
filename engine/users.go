package engine

import (
	"sync"

	"imcd/engine/store"
)

// maxUsers bounds the users that are remembered.
const maxUsers = 1 << 20

// users are the users of own domains who have registered or written something in this run: nobody has
// invented their names. Above the limit some are forgotten.
type users struct {
	limit int

	mu   sync.Mutex
	seen map[uint64]struct{} // guarded by mu: hashes of Name.Key
}

func newUsers(limit int) *users { return &users{limit: limit, seen: make(map[uint64]struct{})} }

// met notes that there is a user with a key.
func (u *users) met(userKey string) {
	key := hash64(userKey)
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, ok := u.seen[key]; ok {
		return
	}
	if len(u.seen) >= u.limit {
		for k := range u.seen {
			delete(u.seen, k)
			break
		}
	}
	u.seen[key] = struct{}{}
}

func (u *users) known(n store.Name) bool {
	key := hash64(n.Key())
	u.mu.Lock()
	defer u.mu.Unlock()
	_, ok := u.seen[key]
	return ok
}

// speakersHalf is how many users each half of speakers holds.
const speakersHalf = 1 << 15

// speakers are the users whose clients sent receipts last in this run: these clients understand receipts.
// Shards share it.
type speakers struct {
	half int // how many each map holds

	mu       sync.Mutex
	now, old map[string]struct{} // guarded by mu: keys; old was full before now was begun
}

func newSpeakers(half int) *speakers {
	return &speakers{half: half, now: make(map[string]struct{})}
}

func (s *speakers) add(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, has := s.now[key]; has {
		return
	}
	if len(s.now) >= s.half {
		s.old, s.now = s.now, make(map[string]struct{})
	}
	s.now[key] = struct{}{}
}

func (s *speakers) has(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, now := s.now[key]
	_, old := s.old[key]
	return now || old
}
