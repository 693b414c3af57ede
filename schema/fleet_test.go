package schema

import (
	"database/sql"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"imcd/engine/store"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// batches are the numbers of the last batches of Stores in tests.
var batches = struct {
	sync.Mutex
	last map[*Store]uint64
}{last: make(map[*Store]uint64)}

// nextFence is what the next commit of s has to prove: everything that it owns.
func nextFence(t testing.TB, s store.Store) store.Fence {
	t.Helper()
	own, ok := s.(*Store)
	if !ok || own.EngineID() == 0 {
		return store.Fence{}
	}
	fleet := owns(t, own)
	batches.Lock()
	defer batches.Unlock()
	batches.last[own]++
	return store.Fence{Batch: batches.last[own], Owned: fleet.Owned}
}

// owns waits until s owns all rooms.
func owns(t testing.TB, s *Store) store.Fleet {
	t.Helper()
	if m, ok := s.lease.(*member); ok {
		if now := m.look(); now.all() {
			return store.Fleet{Shards: now.shards, Owned: now.owned}
		}
	}
	fleet, err := s.Own(testContext(t), func(string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return fleet
}

// freeze ends what an engine does by itself.
func freeze(s *Store) {
	m := s.lease.(*member)
	m.stop()
	m.loops.Wait()
}

// engineOf opens a Store that tells when it is deposed.
func engineOf(t *testing.T, url string) (*Store, chan error) {
	t.Helper()
	lost := make(chan error, 2)
	return open(t, url, Options{Lease: &Lease{Listen: "127.0.0.1:8450", Lost: func(err error) { lost <- err }}}), lost
}

// setLease writes that an imcd which knows no fleet works with the database.
func setLease(t *testing.T, s *Store, id int64, h holder) {
	t.Helper()
	_, err := s.db.ExecContext(testContext(t), "UPDATE imcd_lease SET id = $1, beat = beat + 7, holder = $2", id,
		h.encode())
	if err != nil {
		t.Fatal(err)
	}
}

// kinds are commits of each kind.
var kinds = map[string][]store.Change{
	"one message":  {putMessage(7, 2, nil), putSeen(1, 200, epoch)},
	"two messages": {putMessage(7, 2, nil), putMessage(7, 3, nil), putCursor(7, "a", 1)},
	"progress":     {putProgress(7, 1)},
	"a member":     {putMember("r", "b", 0)},
	"no room":      {deleteRoom("r")},
}

// A spare waits as long as the owner beats. It takes over when that ends, and the owner, which wakes up,
// writes nothing any more.
func TestSpareTakesOver(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	s, lost := engineOf(t, url)
	first := owns(t, s)
	commit(t, s, putRoomID("r", 7), putMember("r", "a", 1), putMessage(7, 1, nil))
	spare, spareLost := engineOf(t, url)
	third, _ := engineOf(t, url)
	waits, waited := make(chan string, 1), make(chan store.Fleet, 1)
	go func() {
		fleet, err := spare.Own(testContext(t), func(other string) error { waits <- other; return nil })
		if err != nil {
			t.Error(err)
		}
		waited <- fleet
	}()
	if other := <-waits; !strings.Contains(other, "http_listen 127.0.0.1:8450") {
		t.Errorf("it waits for %s", other)
	}
	select {
	case <-waited:
		t.Fatal("the rooms have two owners")
	case err := <-lost:
		t.Fatal(err)
	case <-time.After(3 * deadAfter / 2):
	}
	f := nextFence(t, s)
	freeze(s)
	freeze(third)
	began := time.Now()
	second := <-waited
	if took := time.Since(began); took < deadAfter/2 {
		t.Errorf("it takes over after %v", took)
	}
	if len(second.Owned.Shards) != second.Shards || second.Shards != first.Shards {
		t.Errorf("it owns %+v", second)
	}
	for i, e := range second.Owned.Epochs {
		if e != first.Owned.Epochs[i]+1 {
			t.Errorf("epoch %d after %d", e, first.Owned.Epochs[i])
		}
	}
	for what, changes := range kinds {
		err := s.Commit(testContext(t), f, changes)
		again := s.CommitAgain(testContext(t), f, changes)
		for _, err := range []error{err, again} {
			if !errors.Is(err, ErrDeposed) || !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrInvalid) ||
				errors.Is(err, ErrUncertain) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	select {
	case err := <-lost:
		if !errors.Is(err, ErrDeposed) {
			t.Errorf("lost: %v", err)
		}
	default:
		t.Error("no word of it")
	}
	if r := load(t, spare)[at("r").URI()]; len(r.Members) != 1 || r.Room.Seq != 1 || r.Room.Done != 0 {
		t.Errorf("stored %+v", r)
	}
	commit(t, spare, putMessage(7, 2, nil), putSeen(1, 200, epoch))
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	commit(t, spare, putMessage(7, 3, nil), putSeen(2, 200, epoch)) // the end of the first changes nothing
	select {
	case err := <-lost:
		t.Errorf("it is reported again: %v", err)
	case err := <-spareLost:
		t.Error(err)
	default:
	}
}

// An engine that wakes up learns by itself that it was deposed.
func TestSleeperLearnsThatItWasDeposed(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	s, lost := engineOf(t, url)
	owns(t, s)
	run(t, open(t, url, Options{}), "UPDATE imcd_fences SET gone = true")
	if err := kit.Await(t, "the end", lost); !errors.Is(err, ErrDeposed) {
		t.Error(err)
	}
	s, lost = engineOf(t, url) // this one sweeps, too
	owns(t, s)
	run(t, open(t, url, Options{}), "DELETE FROM imcd_fences")
	if err := kit.Await(t, "the end", lost); !errors.Is(err, ErrDeposed) {
		t.Error(err)
	}
}

// The end of the owner lets a spare take over at once.
func TestSpareTakesOverWhenTheOwnerEnds(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	s, _ := engineOf(t, url)
	owns(t, s)
	spare, _ := engineOf(t, url)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	owns(t, spare)
	if took := time.Since(began); took > deadAfter {
		t.Errorf("it waits for %v", took)
	}
	another, _ := engineOf(t, url)
	if n := count(t, another, "SELECT count(*) FROM imcd_engines JOIN imcd_fences USING (id)"); n != 2 {
		t.Errorf("%d engines are known", n)
	}
}

// Engines that look only rarely, or after a pause, take nobody for dead.
func TestWatch(t *testing.T) {
	t.Parallel()
	var w watch
	now := epoch
	see := func(after time.Duration, beat int64) time.Duration {
		now = now.Add(after)
		return w.look(beat, &view{sent: now, got: now})
	}
	if d := see(0, 3); d != 0 {
		t.Errorf("%v at first", d)
	}
	see(viewGap, 3)
	unchanged := func(least time.Duration) {
		t.Helper()
		for d := beatEvery; d < least; d += beatEvery {
			if got := see(beatEvery, 3); got >= deadAfter || w.moved {
				t.Fatalf("unchanged for %v after %v", got, d)
			}
		}
		if d := see(beatEvery, 3); d < deadAfter {
			t.Errorf("unchanged for %v: nobody ever takes over", d)
		}
	}
	see(2*deadAfter, 3)
	unchanged(awayGrace + deadAfter)
	see(0, 4)
	w.moved = false
	see(0, 3)
	w.moved = false
	unchanged(deadAfter)
	see(0, 4)
	w.moved = false
	see(0, 3)
	w.moved = false
	w.look(3, &view{sent: now, got: now.Add(2 * deadAfter)}) // the answer came late
	now = now.Add(2 * deadAfter)
	unchanged(awayGrace + deadAfter)
	if d := see(beatEvery, 4); d != 0 || !w.moved {
		t.Errorf("unchanged for %v when it has changed", d)
	}
}

// A commit that is under way is done before the owner changes, and a takeover does not wait for one whose
// engine is frozen in the middle of it.
func TestTakeoverWaitsForCommits(t *testing.T) {
	t.Parallel()
	for _, ends := range []bool{true, false} {
		url := schematest.NewDatabase(t)
		s, _ := engineOf(t, url)
		commit(t, s, putRoomID("r", 7))
		f := nextFence(t, s)
		tx, err := s.db.BeginTx(testContext(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.begin(testContext(t), tx, f, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec("UPDATE imcd_rooms SET done = done + 1"); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		// A beat does not wait.
		if _, err := s.lease.(*member).read(testContext(t), &listener{}); err != nil {
			t.Error(err)
		}
		freeze(s)
		spare, _ := engineOf(t, url)
		if ends { // the server is busy with it for longer than an engine lives without beats
			if _, err := tx.Exec("SELECT pg_sleep(2)"); err != nil {
				t.Error(err)
			}
			awaitBlocked(t, spare)
			if err := tx.Commit(); err != nil {
				t.Error(err)
			}
		}
		owns(t, spare)
		if took := time.Since(began); took > 2*deadAfter+2*time.Second {
			t.Errorf("the takeover took %v", took)
		}
		if done := count(t, spare, "SELECT done FROM imcd_rooms"); (done == 1) != ends {
			t.Errorf("what was committed (%t) before the takeover is %d", ends, done)
		}
		_ = tx.Rollback()
	}
}

// A shard that was given to another engine is not written to, whatever else the engine owns.
func TestFenceWantsEachShard(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	s, other := open(t, url, leased()), open(t, url, Options{})
	commit(t, s, putRoomID("r", 7), putMember("r", "a", 1), putMessage(7, 1, nil))
	f := nextFence(t, s)
	for _, change := range []string{"epoch = epoch + 1", "engine = NULL", "engine = -1"} {
		run(t, other, "UPDATE imcd_shards SET "+change+" WHERE shard = 5")
		for what, changes := range kinds {
			if err := s.Commit(testContext(t), f, changes); !errors.Is(err, ErrDeposed) {
				t.Errorf("%s, %s: %v", change, what, err)
			}
		}
	}
	f.Owned = store.Owned{Shards: f.Owned.Shards[6:], Epochs: f.Owned.Epochs[6:]}
	if err := s.Commit(testContext(t), f, kinds["one message"]); err != nil {
		t.Errorf("without the shard: %v", err)
	}
	if err := s.Commit(testContext(t), store.Fence{}, kinds["progress"]); !errors.Is(err, ErrInvalid) {
		t.Errorf("without a fence: %v", err)
	}
}

// A batch is carried out once, however often and in whatever order it arrives.
func TestBatchOnce(t *testing.T) {
	t.Parallel()
	for name, c := range uncertainCases {
		s := open(t, schematest.NewDatabase(t), leased())
		commit(t, s, uncertainStart...)
		want := committedOnce(t, c.changes)
		f := nextFence(t, s)
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				if err := s.Commit(testContext(t), f, c.changes); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		all.Wait()
		onceAgain(t, s, f, name, c.changes, want)
	}
}

// A database that has lost what was answered 200 is noticed, and one that has lost only what need not be
// safe is not.
func TestDatabaseWentBack(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	s, lost := engineOf(t, url)
	commit(t, s, putRoomID("r", 7), putMember("r", "a", 1), putMessage(7, 1, nil)) // batch 1
	commit(t, s, putCursor(7, "a", 1))                                             // batch 2
	back := func(last int) {
		tx, err := s.db.BeginTx(testContext(t), &sql.TxOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback() // nothing is left
		if _, err := tx.Exec("UPDATE imcd_fences SET last = $1", last); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	back(1)
	select {
	case err := <-lost:
		t.Error(err)
	case <-time.After(3 * beatEvery):
	}
	back(0)
	if err := kit.Await(t, "the end", lost); !errors.Is(err, ErrDeposed) ||
		!strings.Contains(err.Error(), "from batch 1 to 0") {
		t.Error(err)
	}
	s, lost = engineOf(t, url)
	owns(t, s)
	run(t, s, `UPDATE imcd_engines SET process = '{"run":"another"}'`)
	if err := kit.Await(t, "the end", lost); !errors.Is(err, ErrDeposed) {
		t.Error(err)
	}
}

// An imcd that knows no fleet keeps the rooms while it lives. After that none of its commits succeeds.
func TestImcdThatKnowsNoFleet(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	other := open(t, url, Options{})
	elsewhere := holder{Host: "elsewhere", PID: 1}
	setLease(t, other, 77, elsewhere)
	s, lost := engineOf(t, url)
	waits := make(chan string, 1)
	waited := make(chan error, 1)
	go func() {
		_, err := s.Own(testContext(t), func(other string) error { waits <- other; return nil })
		waited <- err
	}()
	for range 5 { // it beats
		<-time.After(leaseDeadAfter / 4)
		setLease(t, other, 77, elsewhere)
	}
	select {
	case err := <-waited:
		t.Fatal("it does not wait", err)
	default:
	}
	if text := kit.Await(t, "what it waits for", waits); !strings.Contains(text, "pid 1 on host elsewhere") {
		t.Errorf("it waits for %s", text)
	}
	began := time.Now()
	if err := kit.Await(t, "the takeover", waited); err != nil || time.Since(began) < leaseDeadAfter/2 {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	if id := count(t, other, "SELECT id FROM imcd_lease"); id != 0 {
		t.Errorf("the lease is of %d", id)
	}
	select {
	case err := <-lost:
		t.Error(err)
	default:
	}
	// One on this host that was killed does not hold up anybody.
	next := schematest.NewDatabase(t)
	setLease(t, open(t, next, Options{}), 77, deadProcess(t))
	began = time.Now()
	owns(t, open(t, next, leased()))
	if took := time.Since(began); took > leaseDeadAfter/2 {
		t.Errorf("the start took %v", took)
	}
}
