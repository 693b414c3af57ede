package engine

import (
	"context"
	"errors"
	"time"

	"imcd/engine/store"
)

// Where there is a fleet, another database server may take the place of one that fails. So a commit has
// several short tries there, for as long as its senders can wait: each of them may find the new server.

const (
	// firstTry is the deadline of the first try of a commit with a fence. Later ones have more time: a server
	// may be slow.
	firstTry = time.Second
	// tryBackoffMax is the longest pause between two tries.
	tryBackoffMax = 200 * time.Millisecond
)

// try commits a batch. Without a fence it is one try.
func (c *committer) try(ctx context.Context, batch []*call, fence store.Fence, changes []store.Change) error {
	err := c.write(ctx, c.store.Commit, fence, changes)
	if fence.Batch == 0 || !isAway(err) {
		return err
	}
	if skipped, ok := c.retries.next(time.Now()); ok {
		c.log.Warn().Err(err).Int("transactions", len(batch)).Int("more_before", skipped).
			Msg("a commit failed, it is tried again")
	}
	until := answerBy(batch)
	for pause := reloadBackoffMin; isAway(err) && ctx.Err() == nil; pause = min(2*pause, tryBackoffMax) {
		left := time.Until(until)
		if left <= 0 {
			break
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(min(pause, left)):
		}
		err = c.write(ctx, c.store.Commit, fence, changes)
	}
	return err
}

// isAway reports whether a commit with this error was not done, and may succeed later.
func isAway(err error) bool {
	return errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrUncertain) &&
		!errors.Is(err, store.ErrDeposed)
}

// write commits changes in one transaction, by Commit or CommitAgain of the Store. It is one try.
func (c *committer) write(
	ctx context.Context, commit func(context.Context, store.Fence, []store.Change) error, fence store.Fence,
	changes []store.Change,
) error {
	if len(changes) == 0 {
		return nil
	}
	limit := c.timeout
	if fence.Batch > 0 {
		limit = min(limit, c.tryTime)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	start := time.Now()
	err := commit(ctx, fence, changes)
	took := time.Since(start)
	c.metrics.commit(took, len(changes), err)
	switch {
	case err == nil:
		c.tryTime = max(firstTry, 2*took)
	case took >= limit:
		c.tryTime = min(2*c.tryTime, max(firstTry, c.timeout))
	}
	return err
}

// ping asks whether the database takes changes now.
func (c *committer) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, min(c.timeout, firstTry))
	defer cancel()
	return c.store.Ping(ctx)
}

// answerBy is when the first sender of batch must have an answer: Kamailio gives its own soon after.
func answerBy(batch []*call) time.Time {
	by := time.Now().Add(lateAfter)
	for _, t := range batch {
		if t.asked() && !t.early {
			if at := t.req.msg.Received.Add(lateAfter - t.req.msg.Age); at.Before(by) {
				by = at
			}
		}
	}
	return by
}
