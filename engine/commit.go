package engine

import (
	"context"
	"errors"
	"time"

	"imcd/engine/store"
)

// run commits until ctx ends or the engine is deposed. Then nobody gets an answer any more: the new owner
// of the rooms gives it.
func (c *committer) run(ctx context.Context) {
	timer := newStoppedTimer()
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-timer.C:
		}
		d := c.due()
		for ; d == 0; d = c.due() {
			c.commit(ctx, c.take())
			c.settled()
			if c.deposed {
				close(c.gone)
				return
			}
		}
		timer.Reset(d)
	}
}

func (c *committer) commit(ctx context.Context, batch []*call) {
	if len(batch) == 1 && batch[0].again {
		c.loadAgain(ctx, batch[0])
		return
	}
	batch = c.sift(batch)
	changes, fence := changesOf(batch), c.fence(batch)
	if fence.Batch == 0 {
		changes = signed(changes)
	}
	err := c.try(ctx, batch, fence, changes)
	var behind map[*room]*call
	if errors.Is(err, store.ErrUncertain) {
		behind, err = c.resolve(ctx, batch, fence, changes, err)
	}
	if len(batch) == 1 && batch[0].apart && errors.Is(err, store.ErrInvalid) {
		err = c.salvage(ctx, batch, err)
	}
	switch {
	case errors.Is(err, store.ErrDeposed):
		c.log.Error().Err(err).Int("transactions", len(batch)).Msg("another imcd has taken over, nothing is stored any more")
		c.deposed = true
		return
	case err == nil:
		for _, t := range batch {
			if t.stored != nil {
				t.stored()
			}
			t.shard.inbox.post(func() { t.shard.done(t, nil) })
		}
	case errors.Is(err, store.ErrUnavailable):
		if c.failures.failed(time.Now(), err) {
			c.awayLogged = true
			c.log.Error().Err(err).Int("transactions", len(batch)).Msg("commit failed, its senders are answered 503")
		}
		c.setBroken(true) // before a shard learns of the failure
		c.fail(batch, err)
		c.recover(ctx, roomsOf(batch))
	case len(batch) > 1:
		// The database may refuse one of them: the others must not suffer for it.
		half := len(batch) / 2
		c.commit(ctx, batch[:half])
		if !c.deposed {
			c.commit(ctx, batch[half:])
		}
	default:
		c.refuse(batch[0], err)
	}
	if behind != nil {
		c.recover(ctx, behind)
	}
}

// sift fails calls that build on a failed change and returns the others.
func (c *committer) sift(batch []*call) []*call {
	if len(c.minEpoch) == 0 && len(c.suspended) == 0 {
		return batch
	}
	kept := batch[:0]
	for _, t := range batch {
		if c.isSuspended(t) || t.room != nil && t.epoch < c.minEpoch[t.shard][t.room.key] {
			t.shard.inbox.post(func() { t.shard.done(t, errSuperseded) })
			continue
		}
		if t.room != nil {
			delete(c.minEpoch[t.shard], t.room.key)
		}
		kept = append(kept, t)
	}
	return kept
}
