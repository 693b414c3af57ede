package schema

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"imcd/engine/store"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// TestHeir: an engine knows whether another one would take its shards over.
func TestHeir(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	s, _ := engineOf(t, url)
	owns(t, s)
	has := func() bool {
		t.Helper()
		is, equal, err := s.Heir(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		if is != equal {
			t.Errorf("nobody is ready, so all are equal: %t, %t", is, equal)
		}
		return is
	}
	if has() {
		t.Error("it is not alone")
	}
	spare, _ := engineOf(t, url)
	if !has() {
		t.Error("it does not know of the spare")
	}
	freeze(spare)
	kit.Eventually(t, "the spare is silent", func() bool { return !has() })
	ending, _ := engineOf(t, url)
	if err := ending.Ending(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if has() {
		t.Error("one that ends would take over")
	}
	file := open(t, "sqlite://"+t.TempDir()+"/imcd.db", leased())
	if is, _, err := file.Heir(testContext(t)); is || err != nil {
		t.Errorf("a file has an heir: %t, %v", is, err)
	}
}

// TestSpareLooksSoon: a spare looks more often while the owner is about to give its shards up, and has them
// once that has released them, although it is not closed yet.
func TestSpareLooksSoon(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	s, _ := engineOf(t, url)
	owns(t, s)
	spare, _ := engineOf(t, url)
	beats := func(of *Store) int {
		return count(t, s, fmt.Sprint("SELECT beat FROM imcd_engines WHERE id = ", of.EngineID()))
	}
	if err := s.Ending(testContext(t)); err != nil {
		t.Fatal(err)
	}
	owner, other := beats(s), beats(spare)
	kit.Eventually(t, "beats of the owner", func() bool { return beats(s) >= owner+10 })
	if n, often := beats(s)-owner, beats(spare)-other; often < n*3/2 {
		t.Errorf("%d beats of the spare, %d of the owner", often, n)
	}
	s.Release()
	if err := s.Given(testContext(t)); err != nil {
		t.Error(err)
	}
	if n := count(t, s, fmt.Sprint("SELECT count(*) FROM imcd_shards WHERE engine = ", spare.EngineID())); n != 64 {
		t.Errorf("the spare has %d shards", n)
	}
	owns(t, spare)
	if err := s.Commit(testContext(t), store.Fence{Batch: 1}, kinds["a member"]); !errors.Is(err, ErrDeposed) {
		t.Errorf("a commit after the release: %v", err)
	}
}

// TestReadyFirst: of several spares, one that is connected to a Kamailio takes over; a lone one takes over whatever it
// is connected to.
func TestReadyFirst(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	ready := make([]atomic.Bool, 3)
	var engines []*Store
	for i := range ready {
		engines = append(engines, open(t, url, Options{Lease: &Lease{Ready: ready[i].Load}}))
		if i == 0 {
			owns(t, engines[0])
		}
	}
	equal := func() bool {
		t.Helper()
		is, equal, err := engines[0].Heir(testContext(t))
		if err != nil || !is {
			t.Fatal(is, err)
		}
		return equal
	}
	shows := func(i int) bool { // what everybody sees by now
		return fleetOf(t, engines[0]).Engines[i].Ready
	}
	if !equal() {
		t.Error("nobody is ready, and that is not equal")
	}
	ready[0].Store(true)
	// An engine knows of itself what it has written only a moment after everybody can read it.
	kit.Eventually(t, "only the owner is ready", func() bool { return shows(0) && !equal() })
	ready[2].Store(true)
	kit.Eventually(t, "the last one is ready", func() bool { return shows(2) && equal() })
	sees := func(s *Store) bool { // that engine 2 is ready, as its judge does
		m := s.lease.(*member)
		v, err := m.ask(testContext(t), sqlLook)
		return err == nil && m.yields(&v, map[int64]*watch{engines[2].EngineID(): {since: v.sent}}, nil)
	}
	kit.Eventually(t, "only the right one yields", func() bool {
		return sees(engines[1]) && !sees(engines[0]) && !sees(engines[2])
	})
	freeze(engines[0])
	owns(t, engines[2])
	freeze(engines[2])
	owns(t, engines[1])
}
