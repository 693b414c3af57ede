package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"imcd/engine/store"
)

// A commit may have been done although the database did not say so: the connection was
// lost between the two, or the primary has it and its standby has not confirmed it. It is
// not guessed which. The committer keeps the batch and carries it out again until the
// Store says what became of it: the Store knows the batch by the answers that are stored
// with it. Who waits too long for that is answered 503, and a repetition of the request
// gets the true answer once that is known.

// signed adds the answer to a request that never was if changes have none of their own,
// so that CommitAgain knows them. Cursors and the like are written again without harm.
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

// resolve finds out what became of a batch whose commit was ErrUncertain: nil if it is
// stored, ErrInvalid if it never will be. behind are the rooms of what was failed
// meanwhile, which are to be loaded again; nil if the senders had not to be given up.
func (c *committer) resolve(
	ctx context.Context, batch []*tx, changes []store.Change, why error,
) (behind map[*room]*tx, err error) {
	c.log.Warn().Err(why).Int("transactions", len(batch)).
		Msg("it is not known whether a commit was done, it is tried again")
	since, until := time.Now(), answerBy(batch)
	for backoff := reloadBackoffMin; ; backoff = min(2*backoff, reloadBackoffMax) {
		try, cancel := ctx, context.CancelFunc(func() {})
		if behind == nil {
			try, cancel = context.WithDeadline(ctx, until)
		}
		err = c.write(try, c.store.CommitAgain, changes)
		cancel()
		if ctx.Err() != nil {
			return behind, err
		}
		if err == nil || errors.Is(err, store.ErrInvalid) {
			break
		}
		if behind == nil && !time.Now().Before(until) {
			c.log.Error().Err(err).Int("transactions", len(batch)).
				Msg("it is still not known whether a commit was done, its senders are answered 503")
			behind = make(map[*room]*tx)
			c.setBroken(true) // before anybody hears of it
			for _, t := range batch {
				t.shard.inbox.post(func(s *shard) { s.unresolved(t) })
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

// answerBy is when the first of the senders of batch must have an answer: Kamailio gives
// its own soon after.
func answerBy(batch []*tx) time.Time {
	by := time.Now().Add(lateAfter)
	for _, t := range batch {
		if t.req != nil && !t.early {
			if at := t.req.msg.Received.Add(lateAfter - t.req.msg.Age); at.Before(by) {
				by = at
			}
		}
	}
	return by
}

// unresolved answers the sender of t, of which it is not known whether it is stored.
// Until it is, repetitions are answered the same.
func (s *shard) unresolved(t *tx) {
	if t.req == nil || t.early {
		return
	}
	t.unsure = true
	// Without a notice: "try again" might be wrong.
	c := &call{shard: s, req: t.req, tx: &tx{shard: s, req: t.req}}
	c.refuse(&refusal{code: 503, detail: rcUnavailable, reason: "Database unavailable"})
	s.replyAs(t.req, c.tx.answer, false)
	if n := t.req.seen; n != nil {
		s.answerRepetitions(n, c.tx.answer)
	}
}
