package check

import (
	"context"
	"errors"
	"fmt"
	"time"

	"imcd/schema"
)

// resizeWait bounds Resize, which waits for imcd that are dead to be taken for dead.
const resizeWait = 10 * time.Second

// Resize divides the rooms of a fleet into n shards, and hands each result to print. It reports whether anything
// failed. No imcd may run. Of o only File and Environ count.
func Resize(ctx context.Context, o Options, n int, print func(Line)) (failed bool) {
	return alone(ctx, o, resizeWait, print, func(ctx context.Context, r *run, s *schema.Store) {
		before, err := s.Resize(ctx, n)
		switch {
		case errors.Is(err, schema.ErrHeld):
			r.say("fleet", Fail, err.Error(), "Stop all imcd that share the database, and call this again.")
		case err != nil:
			r.say("fleet", Fail, err.Error(), "")
		default:
			r.say("fleet", OK, fmt.Sprintf("the rooms are divided into %d shards; before, there were %d", n, before), "")
			if workers := 1 << r.cfg.Engine.HashSize; workers > n {
				r.say("fleet", Warn, fmt.Sprintf("hash_size makes %d workers: some have no rooms", workers), "")
			}
		}
	})
}
