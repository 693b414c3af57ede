package schema

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"imcd/engine/store"
)

// Several engines own shards at the same time: they share them, and an operator moves some.

// ErrNoMove: a shard cannot go from one engine to another as things are. The error says why.
var ErrNoMove = errors.New("the shard cannot be moved")

// Owns returns what this engine owned when it looked last, and when that was: a shard that it has given
// away since may still be there. Without a fleet it is the zero Fleet.
func (s *Store) Owns() (fleet store.Fleet, at time.Time) {
	m, ok := s.lease.(*member)
	if !ok {
		return store.Fleet{}, time.Time{}
	}
	now := m.look()
	return store.Fleet{Shards: now.shards, Owned: now.owned}, now.at
}

// Asked returns which shards of this engine others are to have by the plan, and when that was seen: some may have gone
// there since.
func (s *Store) Asked() (moves []store.Move, at time.Time) {
	m, ok := s.lease.(*member)
	if !ok {
		return nil, time.Time{}
	}
	now := m.look()
	return now.asked, now.at
}

// News gets a value when Owns may have changed. It is for one reader, and only once Own has returned. nil:
// there is no fleet.
func (s *Store) News() <-chan struct{} {
	if m, ok := s.lease.(*member); ok {
		return m.judged
	}
	return nil
}

// Confirm returns once a standby, if there is one, has all that was committed before: what was taken over must not
// be read before. Errors are ErrUnavailable.
func (s *Store) Confirm(ctx context.Context) error {
	m, ok := s.lease.(*member)
	if !ok {
		return nil
	}
	return wrap(ctx, "wait for the standby", m.confirm(ctx))
}

// CheckMove reports why this engine cannot give a shard to another one now: ErrNoMove, or ErrUnavailable.
func (s *Store) CheckMove(ctx context.Context, shard, to int64) error {
	m, ok := s.lease.(*member)
	if !ok {
		return fmt.Errorf("%w: there is no fleet", ErrNoMove)
	}
	v, err := m.ask(ctx, sqlLook)
	if err != nil {
		return wrap(ctx, "look at the fleet", err)
	}
	return m.mayMove(&v, shard, to)
}

// mayMove reports why this engine cannot give a shard away.
func (m *member) mayMove(v *view, shard, to int64) error {
	i := slices.IndexFunc(v.shards, func(s shardRow) bool { return s.shard == shard })
	switch {
	case i < 0:
		return fmt.Errorf("%w: there is no shard %d", ErrNoMove, shard)
	case v.shards[i].engine != m.me:
		return fmt.Errorf("%w: shard %d belongs to engine %d, which is to be asked", ErrNoMove, shard, v.shards[i].engine)
	}
	heard := m.look().heard
	found := false
	for _, e := range v.engines {
		h := decodeHolder(e.process)
		if !h.Shares {
			return fmt.Errorf("%w: engine %d is an older imcd, which can own all shards only", ErrNoMove, e.id)
		}
		if e.id != to {
			continue
		}
		found = true
		at, known := heard[e.id]
		switch {
		case e.id == m.me:
			return fmt.Errorf("%w: it is here", ErrNoMove)
		case h.Ending || h.dead() || known && at.beat == e.beat && v.sent.Sub(at.since) >= silentAfter:
			return fmt.Errorf("%w: engine %d is about to end, or shows no sign of life", ErrNoMove, to)
		case !h.Ready:
			return fmt.Errorf("%w: engine %d is not connected to a Kamailio", ErrNoMove, to)
		}
	}
	if !found {
		return fmt.Errorf("%w: there is no engine %d", ErrNoMove, to)
	}
	return nil
}

// Moving lets the others know whether this engine is about to give shards away: they look more often then. Errors
// are ErrUnavailable.
func (s *Store) Moving(ctx context.Context, is bool) error {
	m, ok := s.lease.(*member)
	if !ok {
		return nil
	}
	return wrap(ctx, "announce a move", m.describe(ctx, sqlReside, func(h *holder) { h.Moving = is }))
}
