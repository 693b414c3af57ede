package schema

import (
	"errors"
	"testing"

	"imcd/engine/store"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// TestResize: rooms are divided into another number of shards if no imcd lives, and stay what they are.
func TestResize(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	s, _ := engineOf(t, url)
	commit(t, s, putRoomID("r", 7), putMember("r", "a", 1), putMessage(7, 1, nil))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	epochs := int64(0)
	before := 64
	for _, n := range []int{256, 16, 1, 64} {
		tool := open(t, url, Options{Lease: &Lease{}})
		if err := tool.OwnNow(testContext(t)); err != nil {
			t.Fatal(err)
		}
		if was, err := tool.Resize(testContext(t), n); err != nil || was != before {
			t.Fatalf("%d shards: %d, %v", n, was, err)
		}
		if err := tool.Close(); err != nil {
			t.Fatal(err)
		}
		before = n
		s, _ := engineOf(t, url)
		fleet := owns(t, s)
		if fleet.Shards != n || len(fleet.Owned.Shards) != n || fleet.Owned.Epochs[n-1] <= epochs {
			t.Errorf("it has %+v", fleet)
		}
		epochs = fleet.Owned.Epochs[n-1]
		if got := count(t, s, "SELECT shards FROM imcd_fleet"); got != n {
			t.Errorf("%d are stored", got)
		}
		f := store.Fence{Batch: 1, Owned: fleet.Owned}
		if err := s.Commit(testContext(t), f, []store.Change{putMember("r", "b", 0)}); err != nil {
			t.Error(err)
		}
		if r := load(t, s)[at("r").URI()]; len(r.Members) != 2 || r.Room.Seq != 1 {
			t.Errorf("stored %+v", r)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestResizeWithImcd: while an imcd lives, even a spare, nothing is changed. One that is dead is no obstacle.
func TestResizeWithImcd(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	tool := open(t, url, Options{Lease: &Lease{}})
	if err := tool.OwnNow(testContext(t)); err != nil {
		t.Fatal(err)
	}
	spare, _ := engineOf(t, url)
	kit.Eventually(t, "the spare is seen", func() bool { return len(tool.lease.(*member).look().heard) > 0 })
	if _, err := tool.Resize(testContext(t), 128); !errors.Is(err, ErrHeld) {
		t.Errorf("with a spare: %v", err)
	}
	for _, n := range []int{0, -4, 3, 63, 2 * MaxShards} {
		if _, err := tool.Resize(testContext(t), n); !errors.Is(err, ErrNoShards) {
			t.Errorf("%d shards: %v", n, err)
		}
	}
	if err := tool.Close(); err != nil {
		t.Fatal(err)
	}
	freeze(spare)
	tool = open(t, url, Options{Lease: &Lease{}})
	if err := tool.OwnNow(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := tool.Resize(testContext(t), 128); err != nil {
		t.Errorf("with one that is dead: %v", err)
	}
	alone := open(t, "sqlite://"+t.TempDir()+"/x.db", Options{Lease: &Lease{}})
	if _, err := alone.Resize(testContext(t), 128); err == nil {
		t.Error("SQLite has shards")
	}
}
