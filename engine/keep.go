package engine

import (
	"context"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

const (
	// pruneEvery is how often what is over the limits is deleted; after failures less often,
	// down to flushWaitRefused.
	pruneEvery = 10 * time.Second
	// pruneTimeout is the deadline for that.
	pruneTimeout = 30 * time.Second
)

// prune deletes old messages and answers until ctx ends.
func (e *Engine) prune(ctx context.Context) {
	wait := pruneEvery
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		err := e.pruneOnce(ctx)
		if err == nil {
			wait = pruneEvery
			continue
		}
		if wait == pruneEvery && ctx.Err() == nil {
			e.log.Warn().Err(err).Msg("old messages are not deleted")
		}
		wait = longer(wait, pruneEvery, flushWaitRefused)
	}
}

func (e *Engine) pruneOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pruneTimeout)
	defer cancel()
	n, err := e.store.Prune(ctx, store.Limits{Messages: e.cfg.RoomMessages, Bytes: int64(e.cfg.RoomBytes),
		Age: e.cfg.MessageAge, SeenAge: 2 * e.cfg.DuplicateWindow, NoteAge: keptAge}, time.Now())
	e.metrics.pruned.Add(float64(n))
	return err
}

// loadSeen takes over the answers of an earlier run.
func (e *Engine) loadSeen(ctx context.Context) error {
	rows, err := e.store.Seen(ctx, time.Now().Add(-e.cfg.DuplicateWindow))
	if err != nil {
		return err
	}
	for _, row := range rows {
		if row.Code == 0 {
			continue // a sign, see signed
		}
		s := e.shards[row.Shard&uint32(len(e.shards)-1)]
		s.remember(&seen{key: row.Key, at: row.At, done: true,
			answer: evapi.Answer{Code: row.Code, RC: row.RC, Reason: row.Reason}})
	}
	return nil
}

// flush writes all cursors and waits for it, or until ctx ends.
func (e *Engine) flush(ctx context.Context) {
	done := make(chan struct{}, len(e.shards))
	for _, s := range e.shards {
		s.inbox.post(func(s *shard) { s.flush(func(error) { done <- struct{}{} }) })
	}
	for range e.shards {
		select {
		case <-done:
		case <-ctx.Done():
			return
		}
	}
}

// Registered says that a user has registered a device: what waits for this user
// is sent now. aor is a SIP URI; what is none is ignored. It never blocks.
func (e *Engine) Registered(aor string) {
	name, err := ParseName(aor, "")
	if err != nil {
		return
	}
	key := name.Key()
	e.users.met(key)
	for _, s := range e.shards {
		s.inbox.heard(key, true)
	}
}
