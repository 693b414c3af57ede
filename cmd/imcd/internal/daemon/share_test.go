package daemon

import (
	"slices"
	"testing"
	"time"

	"imcd/engine/store"
)

// TestLookBeforeMove: a look at the database from before a shard was given away may still show it as this engine's.
// That counts for this shard only: others are loaded, however many moves there are.
func TestLookBeforeMove(t *testing.T) {
	given := time.Now()
	f := follower{given: map[int64]time.Time{3: given}}
	fresh := store.Owned{Shards: []int64{2, 3, 4}, Epochs: []int64{20, 30, 40}}
	for what, c := range map[string]struct {
		look time.Time
		want store.Owned
	}{
		"before the move": {given.Add(-time.Millisecond), store.Owned{Shards: []int64{2, 4}, Epochs: []int64{20, 40}}},
		"behind the move": {given.Add(time.Millisecond), fresh},
	} {
		if got := f.after(c.look, fresh); !slices.Equal(got.Shards, c.want.Shards) ||
			!slices.Equal(got.Epochs, c.want.Epochs) {
			t.Errorf("a look %s: %v", what, got)
		}
	}
}
