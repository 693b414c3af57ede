package engine

import (
	"context"
	"fmt"
	"slices"

	"imcd/engine/store"
)

// memFleet are the tables of a fleet in memory. All is guarded by the memStore's mutex.
type memFleet struct {
	*memStore
	owner  [fleetShards]int64 // 0: nobody
	epoch  [fleetShards]int64
	gone   map[int64]bool
	last   map[int64]uint64
	writes [fleetShards][]string // "engine epoch" of each commit that was carried out
	faults []string              // commits that wrote to shards which they did not name

	loadErr error // of loads of rooms, behind the first room; nil: none
}

func (f *memFleet) Load(ctx context.Context, part store.Part, fn func(store.RoomState) error) error {
	f.mu.Lock()
	fails := f.loadErr
	f.mu.Unlock()
	return f.memStore.Load(ctx, part, func(state store.RoomState) error {
		if err := fn(state); err != nil || fails == nil {
			return err
		}
		return fails
	})
}

const fleetShards = 8

func newMemFleet() *memFleet {
	return &memFleet{memStore: newMemStore(), gone: map[int64]bool{}, last: map[int64]uint64{}}
}

// owned is what an engine owns.
func (f *memFleet) owned(id int64) (o store.Owned) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, owner := range f.owner {
		if owner == id && !f.gone[id] {
			o.Shards, o.Epochs = append(o.Shards, int64(i)), append(o.Epochs, f.epoch[i])
		}
	}
	return o
}

// holds reports whether a commit is to be carried out. It needs mu.
func (f *memFleet) holds(id int64, fence store.Fence) bool {
	if f.gone[id] || fence.Batch <= f.last[id] {
		return false
	}
	for i, s := range fence.Owned.Shards {
		if f.owner[s] != id || f.epoch[s] != fence.Owned.Epochs[i] {
			return false
		}
	}
	return true
}

// touches lists the shards that changes are about. It needs mu.
func (f *memFleet) touches(changes []store.Change) (shards []int64) {
	byID := func(id int64) {
		for key, r := range f.rooms {
			if r.Room.ID == id {
				shards = append(shards, int64(store.Hash(key)%fleetShards))
			}
		}
	}
	for _, c := range changes {
		switch c.Op {
		case store.PutRoom, store.DeleteRoom:
			shards = append(shards, int64(store.Hash(c.Room.Name.Key())%fleetShards))
		case store.PutMember, store.DeleteMember:
			shards = append(shards, int64(store.Hash(c.Member.Room.Key())%fleetShards))
		case store.PutMessage:
			byID(c.Message.Room)
		case store.PutCursor:
			byID(c.Cursor.Room)
		case store.PutProgress:
			byID(c.Progress.Room)
		case store.PutPlaces:
			byID(c.Places.Room)
		case store.PutSetting:
			byID(c.Setting.Room)
		case store.MoveShard:
			shards = append(shards, c.Move.Shard)
		}
	}
	return shards
}

// errGone is that of a commit which gives a shard to an engine that is gone.
var errGone = fmt.Errorf("%w: the engine is gone", store.ErrInvalid)

// write carries a commit out. It needs mu.
func (f *memFleet) write(id int64, fence store.Fence, changes []store.Change) error {
	var moves []*store.Move
	var others []store.Change
	for _, c := range changes {
		if c.Op != store.MoveShard {
			others = append(others, c)
		} else if moves = append(moves, c.Move); f.gone[c.Move.To] {
			return errGone
		}
	}
	for _, s := range f.touches(changes) {
		if !slices.Contains(fence.Owned.Shards, s) {
			f.faults = append(f.faults, fmt.Sprintf("engine %d wrote to shard %d: %+v", id, s, changes))
		}
	}
	f.last[id] = fence.Batch
	for i, s := range fence.Owned.Shards {
		f.writes[s] = append(f.writes[s], fmt.Sprint(id, " ", fence.Owned.Epochs[i]))
	}
	f.apply(others)
	for _, m := range moves {
		f.owner[m.Shard] = m.To
		f.epoch[m.Shard]++
	}
	return nil
}

// fleetStore is the Store of one engine of a memFleet.
type fleetStore struct {
	*memFleet
	id      int64
	trouble []bool        // commits to come whose answers are lost: whether they are carried out; by mu
	gate    chan struct{} // if not nil, the engine is frozen or cut off until it is closed; by mu
}

// wait waits as long as the engine is frozen.
func (s *fleetStore) wait(ctx context.Context) error {
	s.mu.Lock()
	gate := s.gate
	s.mu.Unlock()
	if gate == nil {
		return nil
	}
	select {
	case <-gate:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", store.ErrUncertain, ctx.Err())
	}
}

func (s *fleetStore) Commit(ctx context.Context, f store.Fence, changes []store.Change) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.holds(s.id, f) {
		return store.ErrDeposed
	}
	lost, done := len(s.trouble) > 0, true
	if lost {
		done, s.trouble = s.trouble[0], s.trouble[1:]
	}
	if done {
		if err := s.write(s.id, f, changes); err != nil {
			return err
		}
	}
	if lost {
		return store.ErrUncertain
	}
	return nil
}

func (s *fleetStore) CommitAgain(ctx context.Context, f store.Fence, changes []store.Change) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	gone, stored := s.gone[s.id], s.last[s.id] >= f.Batch
	s.mu.Unlock()
	switch {
	case gone:
		return store.ErrDeposed
	case stored:
		return nil
	}
	return s.Commit(ctx, f, changes)
}
