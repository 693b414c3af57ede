package engine

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"imcd/engine/store"
)

// fleetOfOne lets a house on a store commit with fences.
func fleetOfOne(s *memStore) *memStore {
	s.fleet = store.Fleet{Shards: 2, Owned: store.Owned{Shards: []int64{0, 1}, Epochs: []int64{1, 1}}}
	return s
}

// While the database is away, nobody hears 503 before it has to be: another server may take its place.
func TestSendersWaitForAnotherServer(t *testing.T) {
	for _, away := range []time.Duration{time.Millisecond, lateAfter - tryBackoffMax, lateAfter + time.Second} {
		synctest.Test(t, func(t *testing.T) {
			h := openHouse(t, fleetOfOne(newMemStore()), nil)
			h.say("alice", "r", "#create")
			began := time.Now()
			h.store.setAway(true)
			h.store.set(func([]store.Change) (error, bool) {
				if time.Since(began) < away {
					return store.ErrUnavailable, false
				}
				return nil, false
			})
			first := h.send(h.request("alice", "r@x.org", "x"))
			h.pass(0)
			second := h.send(h.request("alice", "r@x.org", "y"))
			h.pass(lateAfter - time.Millisecond)
			if away < lateAfter {
				if a, b := answer(first), answer(second); a.Code != 200 || b.Code != 200 {
					t.Errorf("away for %v: answered %+v and %+v", away, a, b)
				}
			} else {
				if len(first)+len(second) > 0 {
					t.Errorf("answered %+v and %+v while there was time", answer(first), answer(second))
				}
				h.pass(time.Millisecond)
				if a, b := answer(first), answer(second); a.Code != 503 || b.Code != 503 {
					t.Errorf("away for %v: answered %+v and %+v", away, a, b)
				}
			}
			h.store.setAway(false)
			h.pass(2 * time.Second)
			if !h.e.Healthy() {
				t.Error("not healthy")
			}
			third := h.send(h.request("alice", "r@x.org", "z"))
			h.pass(0)
			if a := answer(third); a.Code != 200 {
				t.Errorf("answered %+v when it is back", a)
			}
		})
	}
}

// A try has a second. If that is not enough for a server that is slow, it gets more, and so do the next
// commits.
func TestTriesGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		m, err := newMetrics(prometheus.NewRegistry(), &credits{}, &held{})
		if err != nil {
			t.Fatal(err)
		}
		c := newCommitter(newMemStore(), cfg, zerolog.Nop(), m)
		takes := 1500 * time.Millisecond
		commit := func(ctx context.Context, _ store.Fence, _ []store.Change) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(takes):
				return nil
			}
		}
		try := func(fence store.Fence) time.Duration {
			began := time.Now()
			if err := c.write(t.Context(), commit, fence, make([]store.Change, 1)); err != nil &&
				!errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			return time.Since(began)
		}
		fence := store.Fence{Batch: 1}
		for i, want := range []time.Duration{firstTry, takes, takes} {
			if got := try(fence); got != want {
				t.Errorf("try %d took %v", i, got)
			}
		}
		takes = time.Hour
		for i, want := range []time.Duration{2 * 1500 * time.Millisecond, cfg.CommitTimeout} {
			if got := try(fence); got != want {
				t.Errorf("try %d of a frozen server took %v", i, got)
			}
		}
		takes = time.Millisecond
		try(fence)
		takes = time.Hour
		if got := try(fence); got != firstTry {
			t.Errorf("after a quick commit a try took %v", got)
		}
		if got := try(store.Fence{}); got != cfg.CommitTimeout {
			t.Errorf("without a fence a try took %v", got)
		}
	})
}
