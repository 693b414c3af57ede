package engine

import (
	"context"
	"maps"
	"time"

	"imcd/engine/store"
)

func (c *committer) fail(batch []*call, err error) {
	for _, t := range batch {
		if t.again {
			c.lift(t)
			continue // its room is loaded with those of failed calls
		}
		if t.room != nil {
			if c.minEpoch[t.shard] == nil {
				c.minEpoch[t.shard] = make(map[string]uint64)
			}
			c.minEpoch[t.shard][t.room.key] = c.epoch + 1
		}
		t.shard.inbox.post(func() { t.shard.done(t, err) })
	}
}

// failWaiting fails all waiting calls and adds their rooms to failed.
func (c *committer) failWaiting(failed map[*room]*call) {
	for more := c.take(); len(more) > 0; more = c.take() {
		c.fail(more, errBroken)
		maps.Copy(failed, roomsOf(more))
	}
}

// recover loads the rooms of failed calls again, as often as needed, and fails calls that come
// meanwhile.
//
// A shard that does not know of the failure may send calls that build on it. Those that arrive before
// the rooms are loaded fail like the others. Later ones have an old epoch: sift fails them, and the room
// is not distrusted again.
func (c *committer) recover(ctx context.Context, failed map[*room]*call) {
	c.setBroken(true)
	for backoff := reloadBackoffMin; ; backoff = longer(backoff, reloadBackoffMin, reloadBackoffMax) {
		c.failWaiting(failed)
		err := c.reload(ctx, failed)
		if err == nil {
			break
		}
		if c.away.failed(time.Now(), err) {
			c.awayLogged = true
			c.log.Warn().Err(err).Msg("database is away")
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(backoff):
		}
	}
	c.setBroken(false)
	if c.awayLogged {
		c.awayLogged = false
		c.log.Info().Int("rooms", len(failed)).Msg("database is back")
	}
}

// reload gives the stored state of the failed rooms to their shards.
func (c *committer) reload(ctx context.Context, failed map[*room]*call) error {
	var names []store.Name
	for r := range failed {
		names = append(names, r.name)
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if err := c.ping(ctx); err != nil {
		return err
	}
	states, err := c.store.LoadRooms(ctx, names)
	if err != nil {
		return err
	}
	stored := make(map[string]*store.RoomState, len(states))
	for i := range states {
		stored[states[i].Room.Name.Key()] = &states[i]
	}
	c.epoch++
	epoch := c.epoch
	for r, t := range failed {
		t.shard.inbox.post(func() { t.shard.reload(r.key, stored[r.key], epoch) })
	}
	return nil
}

func (c *committer) setBroken(b bool) {
	c.mu.Lock()
	c.broken = b
	c.mu.Unlock()
}

// lift ends the suspension by refuse: its shard made no call behind t before it knew of the refusal.
func (c *committer) lift(t *call) {
	delete(c.suspended[t.shard], t.room.key)
	if len(c.suspended[t.shard]) == 0 {
		delete(c.suspended, t.shard)
	}
}
