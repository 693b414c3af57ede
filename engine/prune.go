package engine

import (
	"context"
	"time"

	"imcd/engine/store"
)

const (
	// pruneEvery is how often rows above the limits are deleted; after failures less often,
	// down to flushWaitRefused.
	pruneEvery = 10 * time.Second
	// pruneTimeout is the deadline for that.
	pruneTimeout = 30 * time.Second
)

// prune deletes old messages and answers until ctx ends.
func (e *Engine) prune(ctx context.Context) {
	wait := pruneEvery
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
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
		Age: e.cfg.MessageAge, SeenAge: 2 * e.cfg.DuplicateWindow, NoteAge: keptAge, ActAge: actAge,
		DeviceAge: e.cfg.DeviceKeep}, time.Now())
	e.metrics.pruned.Add(float64(n))
	return err
}
