package schema

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"imcd/engine/store"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// sharing is an engine that gives away what others ask for, as an imcd does.
type sharing struct {
	s     *Store
	batch uint64
	gave  time.Time // when it last gave something: what the store saw before that is out of date
	stop  context.CancelFunc
	loop  sync.WaitGroup
}

func startSharing(t *testing.T, url string, spare func() bool) *sharing {
	t.Helper()
	e := &sharing{s: open(t, url, Options{Lease: &Lease{Plans: true, Spare: spare, Ready: func() bool { return true }}})}
	var ctx context.Context
	ctx, e.stop = context.WithCancel(testContext(t))
	e.loop.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-e.s.News():
				e.give(t, ctx)
			}
		}
	})
	t.Cleanup(e.end)
	return e
}

// give gives others what they ask for, one commit for all.
func (e *sharing) give(t *testing.T, ctx context.Context) {
	moves, at := e.s.Asked()
	if len(moves) == 0 || !at.After(e.gave) {
		return
	}
	fleet, _ := e.s.Owns()
	var changes []store.Change
	for _, m := range moves {
		changes = append(changes, putMove(m.Shard, m.To))
	}
	e.batch++
	if err := e.s.Commit(ctx, store.Fence{Batch: e.batch, Owned: fleet.Owned}, changes); err != nil && ctx.Err() == nil {
		t.Error(err)
	}
	e.gave = time.Now()
}

// end ends what it does by itself.
func (e *sharing) end() {
	e.stop()
	e.loop.Wait()
}

// parts waits until engines own so many shards, of 64.
func parts(t *testing.T, engines []*sharing, want ...int) {
	t.Helper()
	kit.Eventually(t, "the shards are divided", func() bool {
		var got []int
		for _, e := range engines {
			own, _ := e.s.Owned()
			got = append(got, own)
		}
		slices.Sort(got)
		return slices.Equal(got, want)
	})
}

// TestEnginesShare: engines divide the shards, again when one joins, leaves, or dies. A spare gets none.
func TestEnginesShare(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	never := func() bool { return false }
	all := []*sharing{startSharing(t, url, never)}
	parts(t, all, 64)
	spare := startSharing(t, url, func() bool { return true })
	all = append(all, startSharing(t, url, never), startSharing(t, url, never))
	parts(t, all, 21, 21, 22)
	parts(t, []*sharing{spare}, 0)
	all[0].end() // it gives nothing, and says that it ends
	if err := all[0].s.Ending(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := all[0].s.Close(); err != nil {
		t.Fatal(err)
	}
	all = all[1:]
	parts(t, all, 32, 32)
	freeze(all[0].s) // it dies
	parts(t, all[1:], 64)
	freeze(all[1].s)
	parts(t, []*sharing{spare}, 64)
	parts(t, []*sharing{startSharing(t, url, never)}, 64) // it takes them from the spare
}
