package engine

import (
	"context"
	"time"
)

// Rooms that a user owns at other engines of a fleet count for max_rooms_per_user, too. Their number is asked for when
// the user says what may make a room. What several engines allow at the same moment is not seen: then each allows
// as many as it would alone.

const (
	// countAge is how long the answer counts: the request waits for its shard meanwhile.
	countAge = 5 * time.Second
	// maxCounts bounds the answers that are remembered.
	maxCounts = 4096
)

// counted is how many rooms of a user other engines have.
type counted struct {
	n  int
	at time.Time
}

// OwnedRooms is how many rooms here a user, a SIP URI, owns, as far as that is limited. ErrBadName.
func (e *Engine) OwnedRooms(user string) (int, error) {
	name, err := parseName("user", user)
	if err != nil {
		return 0, err
	}
	e.ledger.mu.Lock()
	defer e.ledger.mu.Unlock()
	return e.ledger.owned[name.Key()], nil
}

// remember notes how many rooms of a user other engines have.
func (l *ledger) remember(user string, n int, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.elsewhere) >= maxCounts {
		clear(l.elsewhere) // each is asked for again
	}
	if l.elsewhere == nil {
		l.elsewhere = make(map[string]counted)
	}
	l.elsewhere[user] = counted{n, now}
}

// away is how many rooms other engines had when that was asked for just now. It is called with mu held.
func (l *ledger) away(user string, now time.Time) int {
	if c := l.elsewhere[user]; now.Sub(c.at) < countAge {
		return c.n
	}
	return 0
}

// mayMake reports whether req may make a room, and its sender may have others at other engines.
func (e *Engine) mayMake(req *request) bool {
	return e.ledger.limit > 0 && e.others != nil && req.refused == nil && req.cmd != nil &&
		(req.cmd.is("create") || req.cmd.is("join")) && !e.ownership.allHere()
}

// count asks others how many rooms the sender of req has there. If they do not answer, the rooms here are what counts.
func (e *Engine) count(ctx context.Context, req *request) {
	key := req.fromKey()
	n, err := e.others.OwnedRooms(ctx, "sip:"+key)
	if err != nil {
		e.log.Debug().Err(err).Str("user", key).Msg("how many rooms a user has at other imcd is not known")
		return
	}
	e.ledger.remember(key, n, time.Now())
}
