package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"imcd/engine/store"
)

// A commit may have been done although the database did not say so: the connection was lost in between,
// or the standby has not confirmed it. The committer does not guess. It keeps the batch and repeats it
// until the Store says what became of it; the Store recognises the batch by the number of its fence, or
// by the answers that are stored with it. A sender that has waited too long is answered 503, and a
// repetition of its request gets the true answer once that is known.

// signed adds an answer without a request if changes have no answer, so that CommitAgain recognises them.
// Cursors and the like may be written twice.
func signed(changes []store.Change) []store.Change {
	harmless := true
	for i := range changes {
		switch changes[i].Op {
		case store.PutSeen:
			return changes
		case store.PutCursor, store.PutProgress, store.PutPlaces, store.DeleteNote:
		default:
			harmless = false
		}
	}
	if harmless {
		return changes
	}
	sign := &store.SeenRow{At: time.Now()}
	_, _ = rand.Read(sign.Key[:]) // never fails
	return append(slices.Clip(changes), store.Change{Op: store.PutSeen, Seen: sign})
}

// resolve finds out what became of a batch whose commit was ErrUncertain: nil if it is stored, ErrInvalid
// or ErrDeposed if it never will be. behind are rooms of calls that failed meanwhile, which must be loaded again; nil
// if all senders could wait.
func (c *committer) resolve(
	ctx context.Context, batch []*call, fence store.Fence, changes []store.Change, why error,
) (behind map[*room]*call, err error) {
	c.log.Warn().Err(why).Int("transactions", len(batch)).
		Msg("it is not known whether a commit was done, it is tried again")
	since, until := time.Now(), answerBy(batch)
	for backoff := reloadBackoffMin; ; backoff = min(2*backoff, tryBackoffMax) {
		try, cancel := ctx, context.CancelFunc(func() {})
		if behind == nil {
			try, cancel = context.WithDeadline(ctx, until)
		}
		err = c.write(try, c.store.CommitAgain, fence, changes)
		cancel()
		if ctx.Err() != nil {
			return behind, err
		}
		if err == nil || errors.Is(err, store.ErrInvalid) || errors.Is(err, store.ErrDeposed) {
			break
		}
		if behind == nil && !time.Now().Before(until) {
			c.log.Error().Err(err).Int("transactions", len(batch)).
				Msg("it is still not known whether a commit was done, its senders are answered 503")
			behind = make(map[*room]*call)
			c.setBroken(true) // before a shard learns of it
			for _, t := range batch {
				t.shard.inbox.post(func() { t.shard.unresolved(t) })
			}
		}
		pause := backoff
		if behind != nil {
			c.failWaiting(behind)
		} else {
			pause = min(pause, time.Until(until))
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	c.log.Info().Err(err).Dur("after", time.Since(since)).Bool("stored", err == nil).
		Msg("it is known what became of the commit")
	return behind, err
}
