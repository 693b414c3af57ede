package evapi

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff is the wait between attempts to connect: exponential with full jitter, so that many
// engines do not come back to a restarted Kamailio at the same moment.
type backoff struct {
	min, max time.Duration
	ceiling  time.Duration // of the next wait; 0: min
}

// next returns a random wait up to the ceiling and doubles that.
func (b *backoff) next() time.Duration {
	ceiling := max(b.ceiling, b.min)
	b.ceiling = min(2*ceiling, b.max)
	return rand.N(ceiling + 1)
}

func (b *backoff) reset() { b.ceiling = 0 }

// Sleep waits for d; false: ctx has ended before.
func Sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
