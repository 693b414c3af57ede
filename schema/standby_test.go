package schema

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"imcd/engine/store"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// TestStoppedStandby: what the standby has not confirmed is not committed, on whatever path,
// whoever ends the wait; when it is back, all of it was, once.
func TestStoppedStandby(t *testing.T) {
	t.Parallel()
	primary, standby := schematest.NewPair(t, schematest.Options{})
	stores, wants, sent := map[string]*Store{}, map[string]string{}, map[string][]store.Change{}
	for name, c := range uncertainCases {
		database := fmt.Sprint("x", len(stores))
		wants[name] = committedOnce(t, c.changes)
		stores[name], sent[name] = open(t, newDatabase(t, primary, database), Options{}), c.changes
		commit(t, stores[name], uncertainStart...)
	}
	if err := standby.Pause(); err != nil {
		t.Fatal(err)
	}
	uncertain := func(name string, call func(context.Context, []store.Change) error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(testContext(t), 300*time.Millisecond)
		defer cancel()
		if err := call(ctx, sent[name]); !errors.Is(err, ErrUncertain) {
			t.Errorf("%s without the standby: %v", name, err)
		}
	}
	for name, s := range stores {
		uncertain(name, func(ctx context.Context, changes []store.Change) error {
			return s.Commit(ctx, store.Fence{}, changes)
		})
		uncertain(name, func(ctx context.Context, changes []store.Change) error {
			return s.CommitAgain(ctx, store.Fence{}, changes)
		})
	}
	// An administrator ends the wait: our context lives on.
	s := stores["one message"]
	more := []store.Change{putMessage(7, 4, nil), putSeen(8, 200, epoch)}
	done := make(chan error, 1)
	go func() { done <- s.Commit(testContext(t), store.Fence{}, more) }()
	kit.Eventually(t, "a commit waits for the standby", func() bool {
		err := primary.Exec(testContext(t), "postgres",
			"SELECT 1 / count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND "+
				"backend_type = 'client backend'")
		return err == nil
	})
	if err := <-done; !errors.Is(err, ErrUncertain) {
		t.Errorf("cancelled by an administrator: %v", err)
	}
	// What need not be safe does not wait.
	commit(t, s, putProgress(7, 2), putCursor(7, "a", 1))
	if err := standby.Resume(); err != nil {
		t.Fatal(err)
	}
	for name, s := range stores {
		if err := s.CommitAgain(testContext(t), store.Fence{}, sent[name]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if name == "one message" {
			continue // and more
		}
		if got := everything(t, s); got != wants[name] {
			t.Errorf("%s: left\n%s\nwant\n%s", name, got, wants[name])
		}
	}
	err := s.CommitAgain(testContext(t), store.Fence{}, more)
	if got := seqs(t, s, 7); err != nil || !slices.Equal(got, []uint64{1, 2, 3, 4}) {
		t.Errorf("messages %v, %v", got, err)
	}
}

// TestStoppedStandbyOfAFleet: an engine that asks what became of its batch does not believe a primary whose
// standby has not confirmed it, whoever ends the wait.
func TestStoppedStandbyOfAFleet(t *testing.T) {
	t.Parallel()
	primary, standby := schematest.NewPair(t, schematest.Options{})
	n := 0
	for name, c := range uncertainCases {
		want := committedOnce(t, c.changes)
		n++
		s := open(t, newDatabase(t, primary, fmt.Sprint("x", n)), leased())
		commit(t, s, uncertainStart...)
		f := nextFence(t, s)
		if err := standby.Pause(); err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(testContext(t), 300*time.Millisecond)
		if err := s.Commit(short, f, c.changes); !errors.Is(err, ErrUncertain) {
			t.Errorf("%s without the standby: %v", name, err)
		}
		cancel()
		for _, patient := range []bool{false, true} {
			ctx, cancel := context.WithTimeout(testContext(t), 300*time.Millisecond)
			if patient {
				ctx = testContext(t)
			}
			done := make(chan error, 1)
			go func() { done <- s.CommitAgain(ctx, f, c.changes) }()
			if patient {
				kit.Eventually(t, "it waits for the standby", func() bool {
					return primary.Exec(testContext(t), "postgres", "SELECT 1 / count(pg_cancel_backend(pid)) FROM "+
						"pg_stat_activity WHERE wait_event = 'SyncRep' AND backend_type = 'client backend'") == nil
				})
			}
			if err := <-done; !errors.Is(err, ErrUncertain) {
				t.Errorf("%s, again without the standby, patient: %t: %v", name, patient, err)
			}
			cancel()
		}
		if err := standby.Resume(); err != nil {
			t.Fatal(err)
		}
		onceAgain(t, s, f, name, c.changes, want)
	}
}

// onceAgain commits changes again that may be stored, and checks what is stored then.
func onceAgain(t *testing.T, s *Store, f store.Fence, name string, changes []store.Change, want string) {
	t.Helper()
	if err := s.CommitAgain(testContext(t), f, changes); err != nil {
		t.Errorf("%s, again: %v", name, err)
	}
	if got := everything(t, s); got != want {
		t.Errorf("%s: left\n%s\nwant\n%s", name, got, want)
	}
}

// TestPromotedStandby: the primary is killed and the standby becomes it. The Store goes on
// there at once, with all that was committed, and not before.
func TestPromotedStandby(t *testing.T) {
	t.Parallel()
	primary, standby := schematest.NewPair(t, schematest.Options{})
	newDatabase(t, primary, "x")
	for _, order := range [][]*schematest.Postgres{{standby, primary}, {primary, standby}} {
		var log logBuffer
		s := open(t, schematest.Hosts("x", order[0], order[1]), Options{Log: log.logger()})
		commit(t, s, putRoomID("r", 7), putMember("r", "a", 1))
		if strings.Contains(log.String(), "synchronous_standby_names") {
			t.Errorf("warned though the standby confirms: %s", log.String())
		}
	}
	s := open(t, schematest.Hosts("x", primary, standby), leased())
	commit(t, s, putMessage(7, 1, nil), putSeen(1, 200, epoch))
	fill(t, s, 2)
	fence := nextFence(t, s)
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	try := func() error {
		ctx, cancel := context.WithTimeout(testContext(t), 3*time.Second)
		defer cancel()
		return s.CommitAgain(ctx, fence, []store.Change{putMessage(7, 2, nil), putSeen(2, 200, epoch)})
	}
	for range 3 {
		if err := try(); !errors.Is(err, ErrUncertain) {
			t.Errorf("without a primary: %v", err)
		}
	}
	if err := s.Ping(testContext(t)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("without a primary: %v", err)
	}
	if err := standby.Promote(testContext(t)); err != nil {
		t.Fatal(err)
	}
	promoted := time.Now()
	if err := try(); err != nil {
		t.Error(err)
	}
	if took := time.Since(promoted); took > 2*time.Second {
		t.Errorf("the first commit is done %v after the promotion", took)
	}
	if got := seqs(t, s, 7); !slices.Equal(got, []uint64{1, 2}) {
		t.Errorf("messages %v", got)
	}
	var log logBuffer
	open(t, schematest.Hosts("x", primary, standby), Options{Log: log.logger()})
	if !strings.Contains(log.String(), "synchronous_standby_names") {
		t.Errorf("not warned that nobody confirms: %s", log.String())
	}
}

// TestFrozenPrimary: a primary that still takes connections and answers nothing, with
// connections to it in the pool, costs one deadline and not one for each of these.
func TestFrozenPrimary(t *testing.T) {
	t.Parallel()
	primary, standby := schematest.NewPair(t, schematest.Options{})
	newDatabase(t, primary, "x")
	s := open(t, schematest.Hosts("x", primary, standby), Options{})
	commit(t, s, putRoomID("r", 7))
	fill(t, s, 2)
	if err := primary.Pause(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = primary.Resume() }) // so that it can be stopped
	if err := standby.Promote(testContext(t)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(testContext(t), 500*time.Millisecond)
	defer cancel()
	changes := []store.Change{putMessage(7, 1, nil), putSeen(1, 200, epoch)}
	if err := s.Commit(ctx, store.Fence{}, changes); !errors.Is(err, ErrUncertain) {
		t.Errorf("the primary is frozen: %v", err)
	}
	// The other server is asked first: less than a connect_timeout passes.
	ctx, cancel = context.WithTimeout(testContext(t), otherHostAfter*9/10)
	defer cancel()
	if err := s.CommitAgain(ctx, store.Fence{}, changes); err != nil {
		t.Error(err)
	}
}

// TestSilentHost: a server that takes connections and says nothing costs connect_timeout
// once, and is not asked first again.
func TestSilentHost(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := silent.Accept()
			if err != nil {
				return // closed
			}
			asked.Add(1)
			defer conn.Close() // with the test
		}
	})
	t.Cleanup(func() { _ = silent.Close(); accepting.Wait() })
	url := strings.Replace(schematest.NewDatabase(t), "@", "@"+silent.Addr().String()+",", 1)
	s := open(t, url, Options{})
	for range 3 {
		s.db.SetMaxIdleConns(0)
		s.db.SetMaxIdleConns(2)
		if err := s.Ping(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// TestReadOnlyConnection: a server that has become a standby behind an open connection (a
// pooler in between, or default_transaction_read_only) is left, whatever shows it.
func TestReadOnlyConnection(t *testing.T) {
	t.Parallel()
	primary, standby := schematest.NewPair(t, schematest.Options{})
	newDatabase(t, primary, "x")
	s := open(t, primary.URL("x"), Options{})
	kit.Eventually(t, "the standby has the tables", func() bool {
		return standby.Exec(testContext(t), "x", "TABLE imcd_fences") == nil
	})
	d, err := openDialect(standby.URL("x"), Options{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	db, err := d.open()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() // nothing is under way
	db.SetMaxOpenConns(1)
	backend := func() string {
		list, err := stringsOf(testContext(t), db, "SELECT pg_backend_pid()::text")
		if err != nil {
			t.Fatal(err)
		}
		return list[0]
	}
	moved := &Store{opts: s.opts, dialect: d, db: db, commits: db, names: s.names, quick: d.quick(),
		leftovers: newLeftovers()}
	for name, call := range map[string]func() error{
		"ping": func() error { return moved.Ping(testContext(t)) },
		"one message": func() error {
			return moved.Commit(testContext(t), store.Fence{}, []store.Change{putMessage(7, 1, nil), putSeen(1, 200, epoch)})
		},
		"a room": func() error { return moved.Commit(testContext(t), store.Fence{}, []store.Change{putRoomID("r", 7)}) },
	} {
		before := backend()
		if err := call(); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUncertain) {
			t.Errorf("%s: %v", name, err)
		}
		if backend() == before {
			t.Errorf("%s: the connection is used again", name)
		}
	}
	if err := standby.Promote(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := moved.Ping(testContext(t)); err != nil {
		t.Error(err)
	}
}
