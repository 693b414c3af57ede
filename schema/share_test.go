package schema

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"imcd/engine/store"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// TestMayMove: why a shard may not go to another engine.
func TestMayMove(t *testing.T) {
	for want, change := range map[string]func(v *view, h *holder) (shard int64){
		"":                               func(*view, *holder) int64 { return 3 },
		"there is no shard 64":           func(*view, *holder) int64 { return 64 },
		"shard 5 belongs to engine 9":    func(*view, *holder) int64 { return 5 },
		"engine 2 is an older imcd":      func(_ *view, h *holder) int64 { h.Shares = false; return 3 },
		"engine 2 is about to end":       func(_ *view, h *holder) int64 { h.Ending = true; return 3 },
		"shows no sign of life":          func(v *view, _ *holder) int64 { v.sent = epoch.Add(silentAfter); return 3 },
		"is not connected to a Kamailio": func(_ *view, h *holder) int64 { h.Ready = false; return 3 },
		"there is no engine 2":           func(v *view, _ *holder) int64 { v.engines[1].id = 3; return 3 },
		"engine 4 is an older imcd, which ": func(v *view, _ *holder) int64 {
			v.engines = append(v.engines, engineRow{id: 4})
			return 3
		},
	} {
		m := &member{me: 1, state: state{heard: map[int64]watch{2: {beat: 7, since: epoch}}}}
		me, h := holder{Shares: true}, holder{Shares: true, Ready: true}
		v := &view{sent: epoch, shards: []shardRow{{shard: 3, engine: 1}, {shard: 5, engine: 9}},
			engines: []engineRow{{id: 1, process: me.encode()}, {id: 2, beat: 7}}}
		shard := change(v, &h)
		v.engines[1].process = h.encode()
		err := m.mayMove(v, shard, 2)
		if want == "" && err != nil || want != "" && (!errors.Is(err, ErrNoMove) || !strings.Contains(err.Error(), want)) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

// TestSpareGetsAShard: a spare has rooms as soon as it is given a shard, and takes over those of the owner later.
func TestSpareGetsAShard(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	s, _ := engineOf(t, url)
	f := store.Fence{Batch: 1, Owned: owns(t, s).Owned}
	spare, _ := engineOf(t, url)
	waited := make(chan store.Fleet, 1)
	go func() {
		fleet, err := spare.Own(testContext(t), func(string) error { return nil })
		if err != nil {
			t.Error(err)
		}
		waited <- fleet
	}()
	if err := s.Moving(testContext(t), true); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "the spare sees that", func() bool {
		v, err := spare.lease.(*member).ask(testContext(t), sqlLook)
		return err == nil && v.ending(spare.EngineID()) && !v.ending(s.EngineID())
	})
	before := time.Now()
	if err := s.Commit(testContext(t), f, []store.Change{putMove(3, spare.EngineID())}); err != nil {
		t.Fatal(err)
	}
	fleet := kit.Await(t, "the shard", waited)
	if fleet.Shards != 64 || !slices.Equal(fleet.Owned.Shards, []int64{3}) ||
		!slices.Equal(fleet.Owned.Epochs, []int64{2}) {
		t.Errorf("it has %+v", fleet)
	}
	kit.Eventually(t, "the former owner sees it", func() bool {
		<-s.News()
		fleet, at := s.Owns()
		return len(fleet.Owned.Shards) == 63 && at.After(before)
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "the spare has all", func() bool {
		<-spare.News()
		fleet, _ := spare.Owns()
		return len(fleet.Owned.Shards) == 64
	})
	if err := spare.Confirm(testContext(t)); err != nil {
		t.Error(err)
	}
}
