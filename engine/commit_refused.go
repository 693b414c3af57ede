package engine

import (
	"context"
	"errors"
	"time"

	"imcd/engine/store"
)

// A change that the database refuses concerns one request: its sender is answered 500, its room is loaded
// again, and later requests of the room are evaluated on the stored state, in their order. Others notice
// nothing.

// refuse gives t back to its shard, which asks to load its room again.
func (c *committer) refuse(t *call, err error) {
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
	t.shard.inbox.post(func() { t.shard.done(t, err) })
}

func (c *committer) isSuspended(t *call) bool {
	if t.room == nil {
		return false
	}
	_, is := c.suspended[t.shard][t.room.key]
	return is
}

// loadAgain loads the room of t, as often as needed.
func (c *committer) loadAgain(ctx context.Context, t *call) {
	c.lift(t)
	batch := []*call{t}
	if c.reload(ctx, roomsOf(batch)) != nil {
		c.recover(ctx, roomsOf(batch))
	}
}

// salvageTries bounds the commits that look for the refused changes of one call.
const salvageTries = 64

// salvage commits the independent changes of a batch of one call, except those that the database refuses.
// why is the error for all of them together.
func (c *committer) salvage(ctx context.Context, batch []*call, why error) error {
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
			err := c.write(ctx, c.store.Commit, c.fence(batch), part)
			if err != nil && !errors.Is(err, store.ErrUnavailable) {
				err = halve(part)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	if err := halve(batch[0].changes); err != nil {
		return err
	}
	return refused
}
