package engine

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"sync"

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

// ledger counts the rooms that each user owns, where that is limited. Rooms of one
// owner are in many shards, hence the lock; what a room has added is noted in
// room.counted, so that nothing is counted twice or left over.
type ledger struct {
	limit int // 0: none, and nothing is counted

	mu    sync.Mutex
	owned map[string]int // guarded by mu: by user key, without zeros
}

func newLedger(limit int) *ledger { return &ledger{limit: limit, owned: make(map[string]int)} }

// reserve counts one more room for a user; false: it is one too many.
func (l *ledger) reserve(user string) bool {
	if l.limit == 0 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owned[user] >= l.limit {
		return false
	}
	l.owned[user]++
	return true
}

// replace counts what a room's owners are instead of what they were.
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

// countOwners brings the ledger up to date with r, which has changed, or is no
// more.
func (s *shard) countOwners(r *room) {
	if s.engine.ledger.limit == 0 {
		return
	}
	var are []string
	if s.rooms[r.key] == r || s.stale[r.key] == r {
		for _, m := range r.owners() {
			are = append(are, m.key)
		}
	}
	if !slices.Equal(r.counted, are) {
		s.engine.ledger.replace(r.counted, are)
		r.counted = are
	}
}

// open is create for users, who may not make as many rooms as they like.
func (c *call) open(private bool) *refusal {
	e := c.shard.engine
	if c.req.order != nil {
		return c.create(private)
	}
	if r := c.checkJoining(); r != nil {
		return r
	}
	if !e.creators.allow(c.req.from) {
		return forbid("Creating rooms is not allowed", "create_denied")
	}
	owner := c.req.fromKey()
	if !e.ledger.reserve(owner) {
		return &refusal{code: 403, detail: rcFull, reason: "You own too many rooms", notice: "too_many_rooms",
			vars: vars{"n": strconv.Itoa(e.cfg.MaxRooms)}}
	}
	r := c.create(private)
	switch {
	case e.ledger.limit == 0:
	case r != nil:
		e.ledger.replace([]string{owner}, nil)
	default:
		c.room.counted = []string{owner}
	}
	return r
}

// mayOwn counts the room for a member that is to become an owner.
func (c *call) mayOwn(m *member) *refusal {
	e := c.shard.engine
	if c.req.order != nil || m.owner() {
		return nil
	}
	if !e.ledger.reserve(m.key) {
		return &refusal{code: 403, detail: rcFull, reason: "User owns too many rooms", notice: "user_rooms",
			vars: vars{"user": c.show(m.name()), "n": strconv.Itoa(e.cfg.MaxRooms)}}
	}
	if e.ledger.limit > 0 {
		c.room.counted = append(c.room.counted[:len(c.room.counted):len(c.room.counted)], m.key)
	}
	return nil
}
