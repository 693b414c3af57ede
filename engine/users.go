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
