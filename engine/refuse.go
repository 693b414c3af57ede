package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"imcd/engine/store"
)

// What the database refuses, unlike what it cannot take while it is away, is the matter
// of one request: its sender is told, its room is loaded again, and the requests that
// came behind it are evaluated on what is stored then, in their order. Nobody else
// notices.

// quietTime is how often, at most, the log says that something was refused: whoever
// finds out what the database refuses must not be able to fill the log with it.
const quietTime = 10 * time.Second

// quiet counts what is not logged.
type quiet struct {
	last    time.Time
	skipped int
}

// next reports whether to log now, and how much was skipped before.
func (q *quiet) next(now time.Time) (skipped int, ok bool) {
	if !q.last.IsZero() && now.Sub(q.last) < quietTime {
		q.skipped++
		return 0, false
	}
	skipped, q.skipped, q.last = q.skipped, 0, now
	return skipped, true
}

// refuse hands t back to its shard, which asks for its room to be loaded again.
func (c *committer) refuse(t *tx, err error) {
	if skipped, ok := c.refusals.next(time.Now()); ok && (!t.apart || c.stuck.failed(time.Now(), err)) {
		line := c.log.Error().Err(err).Int("more_before", skipped)
		if t.room != nil {
			line = line.Str("room", t.room.name.URI())
		}
		line.Msg("the database refuses a change, all others are stored")
	}
	if t.room != nil {
		if c.suspended[t.shard] == nil {
			c.suspended[t.shard] = make(map[string]struct{})
		}
		c.suspended[t.shard][t.room.key] = struct{}{}
	}
	t.shard.inbox.post(func(s *shard) { s.done(t, err) })
}

func (c *committer) isSuspended(t *tx) bool {
	if t.room == nil {
		return false
	}
	_, is := c.suspended[t.shard][t.room.key]
	return is
}

// lift ends what refuse began: nothing that comes behind t was made before its shard
// heard of the refusal.
func (c *committer) lift(t *tx) {
	delete(c.suspended[t.shard], t.room.key)
	if len(c.suspended[t.shard]) == 0 {
		delete(c.suspended, t.shard)
	}
}

// loadAgain loads the room of t, as often as it takes.
func (c *committer) loadAgain(ctx context.Context, t *tx) {
	c.lift(t)
	batch := []*tx{t}
	if c.reload(ctx, roomsOf(batch)) != nil {
		c.recover(ctx, roomsOf(batch))
	}
}

// salvageTries bounds how many commits are spent on finding what is refused.
const salvageTries = 64

// refusedChanges says which changes of a tx are not stored; the others are.
type refusedChanges struct {
	changes []store.Change
	err     error
}

func (r *refusedChanges) Error() string {
	return fmt.Sprintf("%d changes: %v", len(r.changes), r.err)
}

func (r *refusedChanges) Unwrap() error { return r.err }

// salvage commits those of changes that the database takes; they have nothing to do
// with each other. why is how all of them together were refused.
func (c *committer) salvage(ctx context.Context, changes []store.Change, why error) error {
	refused := &refusedChanges{err: why}
	tries := salvageTries
	var halve func(changes []store.Change) error
	halve = func(changes []store.Change) error {
		if len(changes) == 1 {
			refused.changes = append(refused.changes, changes...)
			return nil
		}
		half := len(changes) / 2
		for _, part := range [][]store.Change{changes[:half], changes[half:]} {
			if tries == 0 {
				refused.changes = append(refused.changes, part...)
				continue
			}
			tries--
			err := c.write(ctx, c.store.Commit, part)
			if err != nil && !errors.Is(err, store.ErrUnavailable) {
				err = halve(part)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	if err := halve(changes); err != nil {
		return err
	}
	return refused
}

// refused takes a tx back that the database refuses. Nothing of it was done.
func (s *shard) refused(t *tx) {
	if t.room == nil {
		return
	}
	s.distrust(t.room, t.left)
	r := s.stale[t.room.key]
	r.parking = true
	s.engine.committer.put(&tx{shard: s, room: r, again: true})
}

// superseded takes a tx back that was made behind a refused one, and reports whether its
// request is evaluated again.
func (s *shard) superseded(t *tx) bool {
	if t.room == nil {
		return false
	}
	r := s.stale[t.room.key]
	if r == nil || !r.parking {
		return false
	}
	if r == t.room {
		r.leavers = append(r.leavers, t.left...)
	}
	if t.req == nil || t.early || t.unsure || len(r.behind) >= s.engine.cfg.MailboxSize {
		return false
	}
	r.behind = append(r.behind, t.req)
	return true
}

// park keeps a request until its room is loaded again, and reports whether it has to
// wait for that.
func (s *shard) park(req *request) bool {
	r := s.stale[req.roomKey()]
	if r == nil || !r.parking || req.cmd != nil && req.cmd.roomAt == noRoom {
		return false
	}
	if len(r.parked) >= s.engine.cfg.MailboxSize {
		s.refuse(req, nil, refuseOverloaded())
	} else {
		r.parked = append(r.parked, req)
	}
	return true
}

// unpark evaluates the requests that waited for r, in their order.
func (s *shard) unpark(r *room) {
	behind, parked := r.behind, r.parked
	r.parking, r.behind, r.parked = false, nil, nil
	for _, req := range behind {
		s.evaluateAgain(req, r)
	}
	for _, req := range parked {
		s.evaluateAgain(req, r)
	}
}

// evaluateAgain begins with what was decided by what turned out not to be stored, or
// could not be decided: whether a stranger may come.
func (s *shard) evaluateAgain(req *request, r *room) {
	if refused := s.engine.refuseForeign(req, s.rooms[r.key]); refused != nil && s.stale[r.key] == nil {
		s.refuse(req, nil, refused)
		return
	}
	s.evaluate(req)
}

// giveUpParked answers those that wait for rooms, if the database is away meanwhile.
func (s *shard) giveUpParked() {
	for _, r := range s.stale {
		if len(r.behind)+len(r.parked) > 0 && !s.engine.committer.healthy() {
			s.unpark(r)
		}
	}
}
