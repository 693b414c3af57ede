package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"imcd/engine/store"
)

// Several engines may share the rooms of one Store. Each room belongs to one of the fleet's shards by its
// name, and each of those to one engine at a time. An engine takes shards (Own) and hands them over
// (HandOver) while it works. Requests for rooms of other engines go back to Kamailio.

// has reports whether the rooms with this hash are here.
func (o *ownership) has(hash uint32) bool { return o.loaded == nil || o.loaded[hash&o.mask].Load() }

// allHere reports whether all rooms are here.
func (o *ownership) allHere() bool {
	for i := range o.loaded {
		if !o.loaded[i].Load() {
			return false
		}
	}
	return true
}

// Loaded are the shards whose rooms are here; without a fleet there are none. It does not wait.
func (e *Engine) Loaded() (shards []int64) {
	for i := range e.ownership.loaded {
		if e.ownership.loaded[i].Load() {
			shards = append(shards, int64(i))
		}
	}
	return shards
}

func (o *ownership) set(shards []int64, loaded bool) {
	for _, s := range shards {
		o.loaded[s].Store(loaded)
	}
}

// fleet is what the engine owns, as a Store has it. It is called with mu held.
func (o *ownership) fleet() store.Fleet {
	f := store.Fleet{Shards: len(o.loaded)}
	for i := range int64(len(o.loaded)) {
		if epoch, is := o.owned[i]; is {
			f.Owned.Shards, f.Owned.Epochs = append(f.Owned.Shards, i), append(f.Owned.Epochs, epoch)
		}
	}
	return f
}

// Owned are the shards that this engine has, loaded or about to be; without a fleet there are none. It
// waits for the end of Own and HandOver.
func (e *Engine) Owned() store.Owned {
	o := &e.ownership
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.fleet().Owned
}

// Own loads the rooms of shards that the Store has given to this engine, beside those that it has, and
// serves them from then on. Shards that it has already are ignored. After an error it serves none of the new
// ones, and Own may be called again.
func (e *Engine) Own(ctx context.Context, owned store.Owned) error {
	o := &e.ownership
	o.mu.Lock()
	defer o.mu.Unlock()
	var fresh []int64
	for i, s := range owned.Shards {
		if _, is := o.owned[s]; !is {
			fresh = append(fresh, s)
			o.owned[s] = owned.Epochs[i]
		}
	}
	return e.take(ctx, fresh)
}

// take loads the rooms of shards that are owned. It is called with mu held.
func (e *Engine) take(ctx context.Context, shards []int64) error {
	if len(shards) == 0 {
		return nil
	}
	o := &e.ownership
	e.committer.prove(e.fencesOf(o.fleet()))
	part := store.Part{Of: len(o.loaded), Shards: shards}
	if err := e.loadWithDevices(ctx, part); err != nil {
		for _, s := range shards {
			delete(o.owned, s)
		}
		_ = e.drop(context.WithoutCancel(ctx), part) // ends at once if the engine does
		e.committer.prove(e.fencesOf(o.fleet()))
		return err
	}
	o.set(shards, true)
	return nil
}

// drop forgets what an incomplete load has installed.
func (e *Engine) drop(ctx context.Context, part store.Part) error {
	_, err := e.eachShard(ctx, func(s *shard) []store.Change { s.cut(part.Matcher()); return nil })
	return err
}

const (
	// landTime is how long copies under way may take before their rooms are handed over. The new owner
	// sends those without an outcome again, with the same Call-IDs.
	landTime = 300 * time.Millisecond
	// settleTime bounds the wait for commits under way.
	settleTime = time.Second
	settlePoll = 5 * time.Millisecond
	// takeBackTime bounds the loading of rooms that could not be handed over.
	takeBackTime = 5 * time.Second
)

// errBusy: rooms are loaded again, or the database is slow.
var errBusy = errors.New("commits of its rooms do not end")

// HandOver gives shards that this engine has to other engines. Kamailio gives it no more requests for their
// rooms by now. Requests that it has are answered first, and copies under way may arrive. The last state
// of the rooms and the change of their owner are one commit. After an error the Store still has this engine as
// the owner, unless it is an ErrDeposed. The engine serves the rooms again then, or, if it cannot load them, once
// Own has succeeded. ctx bounds the wait for requests and copies only.
func (e *Engine) HandOver(ctx context.Context, moves []store.Move) error {
	o := &e.ownership
	o.mu.Lock()
	defer o.mu.Unlock()
	part := store.Part{Of: len(o.loaded)}
	var changes []store.Change
	for i := range moves {
		if _, is := o.owned[moves[i].Shard]; !is {
			return fmt.Errorf("hand over shard %d: it is not here", moves[i].Shard)
		}
		part.Shards = append(part.Shards, moves[i].Shard)
		changes = append(changes, store.Change{Op: store.MoveShard, Move: &moves[i]})
	}
	slices.Sort(part.Shards)
	if err := e.handOver(ctx, part, changes); err != nil {
		return fmt.Errorf("hand over %d shards: %w", len(moves), err)
	}
	return nil
}

func (e *Engine) handOver(ctx context.Context, part store.Part, moves []store.Change) error {
	o, in := &e.ownership, part.Matcher()
	if err := e.settleRooms(ctx, in, landTime); err != nil {
		return err
	}
	o.set(part.Shards, false)
	// Requests of operators, which no Kamailio holds back, may have come meanwhile.
	if err := e.settleRooms(ctx, in, 0); err != nil {
		o.set(part.Shards, true)
		return err
	}
	ctx = context.WithoutCancel(ctx) // half of the rooms would be of no use
	last, err := e.eachShard(ctx, func(s *shard) []store.Change { return s.cut(in) })
	if err == nil {
		err = e.give(part.Shards, append(last, moves...))
	}
	if errors.Is(err, store.ErrInvalid) && len(last) > 0 { // the rest is not worth a refusal
		err = e.give(part.Shards, moves)
	}
	if err == nil || errors.Is(err, store.ErrDeposed) || errors.Is(err, errEnded) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, takeBackTime)
	defer cancel()
	if again := e.take(ctx, part.Shards); again != nil {
		err = errors.Join(err, again)
	}
	return err
}

// settleRooms waits until requests and commits for some rooms are finished, and for some time for copies.
func (e *Engine) settleRooms(ctx context.Context, in func(hash uint32) bool, copies time.Duration) error {
	// A shard handles the requests in its inbox after the first round.
	if _, err := e.eachShard(ctx, func(*shard) []store.Change { return nil }); err != nil {
		return err
	}
	began, calm := time.Now(), time.Now()   // calm: since then there were no commits
	rooms := make([][]*room, len(e.shards)) // of each shard, and its own
	look := func(s *shard) (busy, sending bool) {
		for _, r := range rooms[s.index] {
			busy = busy || r.committing > 0 || s.stale[r.key] != nil
			sending = sending || r.inFlight+len(r.ready) > 0
		}
		return busy, sending || s.delivery.owing(in)
	}
	for first := true; ; first = false {
		var busy, sending atomic.Bool
		_, err := e.eachShard(ctx, func(s *shard) []store.Change {
			if first {
				rooms[s.index] = s.delivery.roomsIn(in)
			}
			b, c := look(s)
			if b {
				busy.Store(true)
			}
			if c {
				sending.Store(true)
			}
			return nil
		})
		switch {
		case err != nil:
			return err
		case busy.Load():
			if calm = time.Now(); calm.Sub(began) >= settleTime {
				return errBusy
			}
		case !sending.Load() || time.Since(calm) >= copies:
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(settlePoll):
		}
	}
}

// give commits the change of owner. It is called with mu held.
func (e *Engine) give(shards []int64, changes []store.Change) error {
	o := &e.ownership
	kept := store.Fleet{Shards: len(o.loaded)}
	mine := o.fleet()
	for i, s := range mine.Owned.Shards {
		if !slices.Contains(shards, s) {
			kept.Owned.Shards = append(kept.Owned.Shards, s)
			kept.Owned.Epochs = append(kept.Owned.Epochs, mine.Owned.Epochs[i])
		}
	}
	fences := e.fencesOf(kept)
	done := make(chan error, 1)
	e.committer.put(&call{shard: e.shards[0], changes: changes, proves: mine.Owned,
		stored: func() { e.committer.prove(fences) }, after: func(err error) { done <- err }})
	select {
	case err := <-done:
		if err == nil {
			for _, s := range shards {
				delete(o.owned, s)
			}
		}
		return err
	case <-e.committer.gone:
		return store.ErrDeposed
	case <-e.ended:
		return errEnded
	}
}

// eachShard runs f in every goroutine of a shard and collects what it returns.
func (e *Engine) eachShard(ctx context.Context, f func(*shard) []store.Change) (all []store.Change, err error) {
	answers := make(chan []store.Change, len(e.shards))
	for _, s := range e.shards {
		s.inbox.post(func() { answers <- f(s) })
	}
	for range e.shards {
		select {
		case changes := <-answers:
			all = append(all, changes...)
		case <-e.ended:
			return all, errEnded
		case <-ctx.Done():
			return all, ctx.Err()
		}
	}
	return all, nil
}

// errEnded: the engine was stopped meanwhile.
var errEnded = fmt.Errorf("%w: imcd ends", store.ErrUnavailable)

// roomsIn lists some rooms, with those that are being loaded again.
func (d *delivery) roomsIn(in func(hash uint32) bool) (some []*room) {
	for _, all := range []map[string]*room{d.rooms, d.stale} {
		for key, r := range all {
			if in(store.Hash(key)) {
				some = append(some, r)
			}
		}
	}
	return some
}

// cut forgets some rooms and returns what the database does not know of them yet.
func (s *shard) cut(in func(hash uint32) bool) []store.Change {
	var changes []store.Change
	gone := make(map[*room]struct{})
	for _, r := range s.delivery.roomsIn(in) {
		if r.left = true; s.stale[r.key] == r {
			delete(s.stale, r.key)
		} else {
			changes = append(changes, s.delivery.lastChanges(r)...)
			s.removeRoom(r)
		}
		gone[r] = struct{}{}
		s.groups.handOver(r.key)
		s.delivery.discard(r)
		s.countOwners(r)
	}
	s.delivery.forgetRooms(gone)
	return changes
}

// lastChanges makes the rows for r, as for the end of the engine.
func (d *delivery) lastChanges(r *room) []store.Change {
	was := d.ending
	d.ending = true
	changes := d.cursorChanges(r)
	d.ending = was
	if d.placed[r] && r.stored {
		changes = append(changes, d.placesChange(r))
	}
	return changes
}

// forgetRooms gives up copies under way and kept notices of rooms that another engine has from now on.
func (d *delivery) forgetRooms(gone map[*room]struct{}) {
	if len(gone) == 0 {
		return
	}
	names := make(map[string]struct{}, len(gone))
	for r := range gone {
		names[r.key] = struct{}{}
	}
	for _, f := range d.inFlight {
		if _, is := gone[f.room]; is {
			d.abandon(f)
		}
	}
	for _, st := range d.streams {
		if len(st.kept) == 0 {
			continue
		}
		st.kept = slices.DeleteFunc(st.kept, func(n note) bool {
			if n.room == nil || n.stored == 0 && n.invite == nil {
				return false
			}
			_, is := names[n.room.key]
			if is {
				d.countKept(-1, &n)
			}
			return is
		})
		if len(st.kept) == 0 {
			d.engine.signs.forget(st.key)
			d.forgetStream(st)
		}
	}
}

// ownedElsewhere hands a request back to Kamailio: another engine has its room, or is about to.
func (e *Engine) ownedElsewhere(req *request) {
	if req.order != nil {
		req.order.why = &refusal{code: 503, detail: rcUnavailable, reason: "Another imcd has this room"}
		req.order.done <- struct{}{} // never waits: there is one answer
		e.closed(req)
		return
	}
	if err := e.relay.Move(req.msg, int(req.roomHash()&(slots-1))); err != nil {
		e.log.Debug().Err(err).Str("room", req.roomKey()).Msg("a request cannot be handed back")
		e.turnAway(req, "Another imcd has this room")
		return
	}
	e.closed(req)
}

// slots is into how many parts Kamailio divides rooms; a shard is some of them.
const slots = 1024
