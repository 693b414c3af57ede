package engine

import (
	"fmt"
	"regexp"
	"sync"
	"time"

	"imcd/engine/store"
)

// CreateOperators as Config.CreateAllow: only operators make rooms.
const CreateOperators = "operators"

// creators says who may make rooms.
type creators struct {
	nobody bool           // but operators
	users  *regexp.Regexp // their whole URIs; nil: all
}

// newCreators reads create_allow. A URI is matched as a whole and in any case, as
// users are compared.
func newCreators(allow string) (creators, error) {
	switch allow {
	case "":
		return creators{}, nil
	case CreateOperators:
		return creators{nobody: true}, nil
	}
	re, err := regexp.Compile(`^(?i:` + allow + `)$`)
	if err != nil {
		return creators{}, fmt.Errorf("is neither empty, %q nor a regular expression: %w", CreateOperators, err)
	}
	return creators{users: re}, nil
}

func (c creators) allow(user store.Name) bool {
	return !c.nobody && (c.users == nil || c.users.MatchString(user.URI()))
}

// ledger counts the rooms that each user owns, where that is limited. Shards share it, as owners have
// rooms in many of them. room.counted is the part of a room.
type ledger struct {
	limit int // 0: none, and nothing is counted

	mu    sync.Mutex
	owned map[string]int // guarded by mu: by user key, without zeros

	elsewhere map[string]counted // guarded by mu: by user key; at most maxCounts
}

func newLedger(limit int) *ledger { return &ledger{limit: limit, owned: make(map[string]int)} }

// reserve counts one more room for a user; false: it is one too many.
func (l *ledger) reserve(user string) bool {
	if l.limit == 0 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owned[user]+l.away(user, time.Now()) >= l.limit {
		return false
	}
	l.owned[user]++
	return true
}

// replace counts other owners of a room.
func (l *ledger) replace(was, are []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, user := range are {
		l.owned[user]++
	}
	for _, user := range was {
		if l.owned[user]--; l.owned[user] <= 0 {
			delete(l.owned, user)
		}
	}
}
