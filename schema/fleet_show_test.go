package schema

import (
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"imcd/schema/schematest"
)

// seer opens an engine that counts its takeovers.
func seer(t *testing.T, url string) (s *Store, takeovers *atomic.Int32) {
	t.Helper()
	takeovers = new(atomic.Int32)
	return open(t, url, Options{Lease: &Lease{Listen: "127.0.0.1:8451", TookOver: func() { takeovers.Add(1) }}}), takeovers
}

func fleetOf(t *testing.T, s *Store) FleetView {
	t.Helper()
	f, err := s.Fleet(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Every engine shows all engines and what they own, and counts the takeovers from those that died.
func TestFleetIsShown(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	s, _ := engineOf(t, url)
	all := owns(t, s)
	spare, takeovers := seer(t, url)
	want := EngineView{Engine: s.EngineID(), HTTP: "127.0.0.1:8450", Wants: []int64{}, Owns: []ShardView{}}
	for i, shard := range all.Owned.Shards {
		want.Owns = append(want.Owns, ShardView{Shard: shard, Epoch: all.Owned.Epochs[i]})
	}
	for _, asked := range []*Store{s, spare} {
		f := fleetOf(t, asked)
		if f.Engine != asked.EngineID() || f.Shards != all.Shards || f.Unowned != 0 || len(f.Engines) != 2 {
			t.Fatalf("engine %d shows %+v", asked.EngineID(), f)
		}
		got, other := f.Engines[0], f.Engines[1]
		if got.Host == "" || got.PID == 0 || got.Since.IsZero() {
			t.Errorf("it shows %+v", got)
		}
		got.Host, got.PID, got.Since, got.Silent = "", 0, time.Time{}, 0
		if !reflect.DeepEqual(got, want) {
			t.Errorf("it shows %+v instead of %+v", got, want)
		}
		if other.Engine != spare.EngineID() || len(other.Owns) != 0 || other.Owns == nil {
			t.Errorf("it shows %+v", other)
		}
	}
	if own, of := s.Owned(); own != all.Shards || of != all.Shards {
		t.Errorf("the owner owns %d of %d", own, of)
	}
	freeze(s)
	owns(t, spare)
	f := fleetOf(t, spare)
	if len(f.Engines) != 1 || len(f.Engines[0].Owns) != all.Shards ||
		f.Engines[0].Owns[0].Epoch != all.Owned.Epochs[0]+1 || takeovers.Load() != 1 {
		t.Errorf("after %d takeovers it shows %+v", takeovers.Load(), f)
	}
	last, none := seer(t, url)
	if own, of := last.Owned(); own != 0 || of != all.Shards && of != 0 {
		t.Errorf("a spare owns %d of %d", own, of)
	}
	if err := spare.Close(); err != nil {
		t.Fatal(err)
	}
	if owns(t, last); none.Load() != 0 {
		t.Error("an end counts as a takeover")
	}
}

// To ask an engine that does not do its work for the fleet does not keep it alive.
func TestFleetDoesNotBeat(t *testing.T) {
	t.Parallel()
	s, _ := engineOf(t, schematest.NewDatabase(t))
	owns(t, s)
	freeze(s)
	before := count(t, s, "SELECT beat FROM imcd_engines")
	fleetOf(t, s)
	if after := count(t, s, "SELECT beat FROM imcd_engines"); after != before {
		t.Errorf("beat %d after %d", after, before)
	}
}

// Shards of engines that are gone belong to nobody; an engine is silent since its last beat was seen.
func TestSilentEnginesAreShown(t *testing.T) {
	t.Parallel()
	m := &member{me: 1, state: state{heard: map[int64]watch{
		2: {beat: 7, since: epoch}, 3: {beat: 7, since: epoch}, 4: {beat: 7, since: epoch.Add(awayGrace)}}}}
	now := epoch.Add(deadAfter)
	f := m.show(&view{sent: now, got: now,
		engines: []engineRow{{id: 1}, {id: 2, beat: 7}, {id: 3, beat: 8}, {id: 4, beat: 7}},
		shards:  []shardRow{{shard: 0, engine: 2, epoch: 3}, {shard: 1}, {shard: 2, engine: 9}}})
	if f.Shards != 3 || f.Unowned != 2 {
		t.Errorf("%d of %d shards belong to nobody", f.Unowned, f.Shards)
	}
	for i, want := range []time.Duration{0, deadAfter, 0, 0} {
		if got := f.Engines[i].Silent; got != want.Seconds() {
			t.Errorf("engine %d is silent for %v s", i+1, got)
		}
	}
}

func TestNoFleet(t *testing.T) {
	t.Parallel()
	s := open(t, "sqlite://"+t.TempDir()+"/x.db", Options{Lease: &Lease{}})
	if f := fleetOf(t, s); !reflect.DeepEqual(f, FleetView{Engines: []EngineView{}}) {
		t.Errorf("it shows %+v", f)
	}
	if own, of := s.Owned(); own != 0 || of != 0 {
		t.Errorf("it owns %d of %d", own, of)
	}
}
