package schema

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"imcd/engine/store"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// TestMoveIsAllOrNothing: shards go to another engine with what else is in the commit, or the commit does nothing.
func TestMoveIsAllOrNothing(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	s, _ := engineOf(t, url)
	owns(t, s)
	other, _ := engineOf(t, url)
	third, _ := engineOf(t, url)
	commit(t, s, putRoomID("r", 7))
	run(t, s, "UPDATE imcd_fences SET gone = true WHERE id = "+itoa(third.EngineID()))
	f := nextFence(t, s)
	for what, changes := range map[string][]store.Change{
		"one to an engine that is gone":   {putMove(3, other.EngineID()), putMove(4, third.EngineID())},
		"one to an engine that never was": {putMove(3, other.EngineID()), putMove(4, 1<<40)},
		"one that does not exist":         {putMove(3, other.EngineID()), putMove(400, other.EngineID())},
	} {
		err := s.Commit(testContext(t), f, append(changes, putMessage(7, 1, nil)))
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n := count(t, s, "SELECT count(*) FROM imcd_shards WHERE engine = "+itoa(s.EngineID())); n != 64 {
		t.Errorf("it owns %d shards", n)
	}
	unproven := f
	unproven.Owned = store.Owned{Shards: f.Owned.Shards[5:], Epochs: f.Owned.Epochs[5:]}
	err := s.Commit(testContext(t), unproven, []store.Change{putMove(3, other.EngineID())})
	if !errors.Is(err, ErrInvalid) {
		t.Errorf("a move that the fence does not prove: %v", err)
	}
	err = s.Commit(testContext(t), f, []store.Change{putMove(3, other.EngineID()), putMessage(7, 1, nil)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CommitAgain(testContext(t), f, []store.Change{putMove(3, other.EngineID())}); err != nil {
		t.Errorf("it was committed: %v", err)
	}
	const moved = "SELECT count(*) FROM imcd_shards WHERE shard = 3 AND epoch = 2 AND engine = "
	if n := count(t, s, moved+itoa(other.EngineID())); n != 1 {
		t.Error("the shard was not moved")
	}
	f.Batch++
	if err := s.Commit(testContext(t), f, []store.Change{putMessage(7, 2, nil)}); !errors.Is(err, ErrDeposed) {
		t.Errorf("a commit that names the shard: %v", err)
	}
	lite := open(t, "sqlite://"+filepath.Join(t.TempDir(), "imcd.db"), Options{})
	if err := lite.Commit(testContext(t), store.Fence{}, []store.Change{putMove(3, 1)}); !errors.Is(err, ErrInvalid) {
		t.Errorf("on SQLite: %v", err)
	}
}

// TestMoveHoldsNobodyUp: two engines that give shards to each other do not wait for each other, and nobody
// forgets an engine which is about to get some.
func TestMoveHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	s, _ := engineOf(t, url)
	f := store.Fence{Batch: 1, Owned: owns(t, s).Owned}
	other, _ := engineOf(t, url)
	if err := s.Commit(testContext(t), f, []store.Change{putMove(3, other.EngineID())}); err != nil {
		t.Fatal(err)
	}
	plain := open(t, url, Options{})
	begun, finish := make(chan error, 1), make(chan struct{})
	done := make(chan error, 1)
	go func() { // a move that waits before it is committed
		done <- s.inTx(testContext(t), func(tx *sql.Tx) error {
			fence := store.Fence{Batch: 2, Owned: store.Owned{Shards: f.Owned.Shards[10:20], Epochs: f.Owned.Epochs[10:20]}}
			err := s.begin(testContext(t), tx, fence, make([]store.Change, 10000))
			if err == nil {
				err = s.moveShards(testContext(t), tx, []store.Move{{Shard: 12, To: other.EngineID()}})
			}
			begun <- err
			<-finish
			return err
		})
	}()
	if err := kit.Await(t, "the move", begun); err != nil {
		t.Fatal(err)
	}
	back := store.Fence{Batch: 1, Owned: store.Owned{Shards: []int64{3}, Epochs: []int64{2}}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	if err := other.Commit(ctx, back, []store.Change{putMove(3, s.EngineID())}); err != nil {
		t.Errorf("a move in the other direction: %v", err)
	}
	cancel()
	run(t, plain, "UPDATE imcd_fences SET gone = true WHERE id = "+itoa(other.EngineID()))
	swept := make(chan error, 1)
	go func() { swept <- sweep(testContext(t), plain.db) }()
	kit.Eventually(t, "somebody waits", func() bool {
		return count(t, plain, `SELECT count(*) FROM pg_stat_activity
			WHERE wait_event_type = 'Lock' AND datname = current_database()`) > 0
	})
	close(finish)
	for what, end := range map[string]chan error{"the move": done, "the sweep": swept} {
		if err := kit.Await(t, "the end of "+what, end); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n := count(t, plain, "SELECT count(*) FROM imcd_fences WHERE gone"); n != 1 {
		t.Errorf("%d engines that are gone are known", n)
	}
	kit.Eventually(t, "the shard is taken over", func() bool {
		own, all := s.Owned()
		return own == all && slices.Contains(s.lease.(*member).look().owned.Shards, 12)
	})
}
