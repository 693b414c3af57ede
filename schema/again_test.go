package schema

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"imcd/engine"
	"imcd/schema/schematest"
)

// uncertainCases are commits of each kind, each with what makes the server's messages known
// to a Cutter: that with which it commits.
var uncertainCases = map[string]struct {
	changes []engine.Change
	has     string
}{
	"one message": {[]engine.Change{putMessage(7, 3, []byte("cut me")), putSeen(3, 200, epoch)}, "cut me"},
	"messages": {[]engine.Change{putMessage(7, 3, []byte("cut me")), putMessage(8, 1, nil), putSeen(3, 200, epoch),
		putSeen(4, 200, epoch), putCursor(7, "a", 2)}, hex.EncodeToString([]byte("cut me"))},
	"a member and a message": {[]engine.Change{putMember("r", "c", 0), putMessage(7, 3, []byte("x")), putSeen(3, 200, epoch)}, "COMMIT"},
	"a new room":             {[]engine.Change{putRoomID("new", 9), putMember("new", "a", 1), putMessage(9, 1, nil), putSeen(3, 200, epoch)}, "COMMIT"},
	"the same room anew": {[]engine.Change{deleteRoom("r"), putRoomID("r", 9), putMember("r", "c", 1), putMessage(9, 1, nil),
		putSeen(3, 200, epoch)}, "COMMIT"},
	"a notice": {[]engine.Change{putNote(5, "a", []byte("x"), epoch), putSeen(3, 200, epoch)}, "COMMIT"},
}

// uncertainStart is what all of them change.
var uncertainStart = []engine.Change{putRoomID("r", 7), putMember("r", "a", 1), putMember("r", "b", 0), putRoomID("q", 8),
	putMessage(7, 1, nil), putMessage(7, 2, nil), putSeen(3, 403, epoch.Add(-time.Minute))}

// everything is what a store holds, to be compared.
func everything(t *testing.T, s *Store) string {
	t.Helper()
	text := ""
	rooms := load(t, s)
	for _, room := range slices.Sorted(maps.Keys(rooms)) {
		r := rooms[room]
		text += fmt.Sprintf("%+v\n", r.Room)
		for _, m := range r.Members {
			if m.Cursor != nil {
				text += fmt.Sprint("  at ", *m.Cursor)
			}
			m.Cursor = nil
			text += fmt.Sprintf("  %+v\n", m)
		}
		list, err := s.Messages(testContext(t), r.Room.ID, 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf("  %v\n", list)
	}
	seen, err := s.Seen(testContext(t), epoch.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(seen, func(a, b engine.SeenRow) int { return bytes.Compare(a.Key[:], b.Key[:]) })
	notes, err := s.Notes(testContext(t), 10)
	if err != nil {
		t.Fatal(err)
	}
	return text + fmt.Sprintln(seen, notes)
}

// committedOnce is what a store holds after changes were committed without any trouble.
func committedOnce(t *testing.T, changes []engine.Change) string {
	t.Helper()
	s := open(t, databases()[0].make(t), Options{})
	commit(t, s, uncertainStart...)
	commit(t, s, changes...)
	return everything(t, s)
}

// TestCommitAgain: what was committed is not committed again, and what was not is.
func TestCommitAgain(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		for name, c := range uncertainCases {
			want := committedOnce(t, c.changes)
			for _, before := range []bool{true, false} {
				s := open(t, otherURL(t, url), Options{})
				commit(t, s, uncertainStart...)
				if before {
					commit(t, s, c.changes...)
				}
				for range 2 {
					if err := s.CommitAgain(testContext(t), c.changes); err != nil {
						t.Errorf("%s (stored before: %t): %v", name, before, err)
					}
					if got := everything(t, s); got != want {
						t.Errorf("%s (stored before: %t): left\n%s\nwant\n%s", name, before, got, want)
					}
				}
			}
		}
		// What is refused is refused.
		s := open(t, url, Options{})
		commit(t, s, uncertainStart...)
		for _, changes := range [][]engine.Change{{putMessage(7, 2, nil), putSeen(9, 200, epoch)}, {putMessage(99, 1, nil), putSeen(9, 200, epoch)},
			{putMember("r", "c", 0), putMessage(7, 2, nil), putSeen(9, 200, epoch)}} {
			if err := s.CommitAgain(testContext(t), changes); !errors.Is(err, ErrInvalid) || errors.Is(err, ErrUncertain) {
				t.Errorf("%v: %v", changes, err)
			}
		}
		// Deliveries are written once more.
		for range 2 {
			if err := s.CommitAgain(testContext(t), []engine.Change{putCursor(7, "a", 1), putProgress(7, 2)}); err != nil {
				t.Error(err)
			}
		}
	})
}

// otherURL is another empty database of the same kind.
func otherURL(t *testing.T, url string) string {
	t.Helper()
	for _, d := range databases() {
		if d.name == "postgres" == (url[0] == 'p') {
			return d.make(t)
		}
	}
	return ""
}

// TestCutCommit: the connection is cut before the server commits, or between that and its
// answer. The commit is done, once.
func TestCutCommit(t *testing.T) {
	t.Parallel()
	pg := schematest.New(t, schematest.Options{})
	cutter := schematest.NewCutter(t, pg)
	n := 0
	for name, c := range uncertainCases {
		for moment, what := range []string{"before", "after"} {
			n++
			want := committedOnce(t, c.changes)
			database := fmt.Sprint("cut", n)
			newDatabase(t, pg, database)
			s := open(t, cutter.URL(database), leased())
			commit(t, s, uncertainStart...)
			cut := cutter.Cut(schematest.Moment(moment), c.has)
			err := s.Commit(testContext(t), c.changes)
			if err != nil && !errors.Is(err, ErrUncertain) {
				t.Errorf("%s, cut %s: %v", name, what, err)
			}
			if err != nil {
				err = s.CommitAgain(testContext(t), c.changes)
			}
			if err != nil {
				t.Errorf("%s, cut %s, again: %v", name, what, err)
			}
			await(t, cut.Done)
			if got := everything(t, s); got != want {
				t.Errorf("%s, cut %s: left\n%s\nwant\n%s", name, what, got, want)
			}
		}
	}
}

func newDatabase(t *testing.T, pg *schematest.Postgres, name string) (url string) {
	t.Helper()
	if err := pg.CreateDatabase(name); err != nil {
		t.Fatal(err)
	}
	return pg.URL(name)
}

// TestLateCommit: the server gets what was to be committed only after it was tried again, or
// while that is done. It is done once all the same.
func TestLateCommit(t *testing.T) {
	t.Parallel()
	pg := schematest.New(t, schematest.Options{})
	cutter := schematest.NewCutter(t, pg)
	n := 0
	for name, c := range uncertainCases {
		n++
		want := committedOnce(t, c.changes)
		database := fmt.Sprint("late", n)
		newDatabase(t, pg, database)
		s := open(t, cutter.URL(database), Options{MaxConns: 1}) // which Commit itself uses but once again
		commit(t, s, uncertainStart...)
		cut := cutter.Cut(schematest.LateCommit, c.has)
		done := make(chan error, 1)
		go func() {
			err := s.Commit(testContext(t), c.changes)
			if errors.Is(err, ErrUncertain) {
				err = s.CommitAgain(testContext(t), c.changes)
			}
			done <- err
		}()
		await(t, cut.Done)
		if c.has == "COMMIT" {
			// The transaction is open at the server, and has what is asked for.
			waitUntil(t, "it waits for the transaction", func() bool {
				return pg.Exec(testContext(t), database, "SELECT 1 / count(*) FROM pg_stat_activity WHERE datname = "+
					"current_database() AND wait_event_type = 'Lock' AND wait_event = 'transactionid'") == nil
			})
		} else if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		cut.Release()
		await(t, cut.Settled)
		if c.has == "COMMIT" {
			if err := <-done; err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := everything(t, s); got != want {
			t.Errorf("%s: left\n%s\nwant\n%s", name, got, want)
		}
	}
}

// await waits for a channel that is closed.
func await(t *testing.T, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-testContext(t).Done():
		t.Fatal("never")
	}
}

// waitUntil waits for cond.
func waitUntil(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ctx := testContext(t); !cond(); {
		select {
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// TestStoppedStandby: what the standby has not confirmed is not committed, on whatever path,
// whoever ends the wait; when it is back, all of it was, once.
func TestStoppedStandby(t *testing.T) {
	t.Parallel()
	primary, standby := schematest.NewPair(t, schematest.Options{})
	stores, wants, sent := map[string]*Store{}, map[string]string{}, map[string][]engine.Change{}
	for name, c := range uncertainCases {
		database := fmt.Sprint("x", len(stores))
		wants[name] = committedOnce(t, c.changes)
		stores[name], sent[name] = open(t, newDatabase(t, primary, database), leased()), c.changes
		commit(t, stores[name], uncertainStart...)
	}
	if err := standby.Pause(); err != nil {
		t.Fatal(err)
	}
	uncertain := func(name string, call func(context.Context, []engine.Change) error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(testContext(t), 300*time.Millisecond)
		defer cancel()
		if err := call(ctx, sent[name]); !errors.Is(err, ErrUncertain) {
			t.Errorf("%s without the standby: %v", name, err)
		}
	}
	for name, s := range stores {
		uncertain(name, s.Commit)
		uncertain(name, s.CommitAgain)
	}
	// An administrator ends the wait: our context lives on.
	s := stores["one message"]
	more := []engine.Change{putMessage(7, 4, nil), putSeen(8, 200, epoch)}
	done := make(chan error, 1)
	go func() { done <- s.Commit(testContext(t), more) }()
	waitUntil(t, "a commit waits for the standby", func() bool {
		err := primary.Exec(testContext(t), "postgres",
			"SELECT 1 / count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND backend_type = 'client backend'")
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
		if err := s.CommitAgain(testContext(t), sent[name]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if name == "one message" {
			continue // and more
		}
		if got := everything(t, s); got != wants[name] {
			t.Errorf("%s: left\n%s\nwant\n%s", name, got, wants[name])
		}
	}
	if err := s.CommitAgain(testContext(t), more); err != nil || !reflect.DeepEqual(seqs(t, s, 7), []uint64{1, 2, 3, 4}) {
		t.Errorf("messages %v, %v", seqs(t, s, 7), err)
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
		s := open(t, schematest.Hosts("x", order...), Options{Log: log.logger()})
		commit(t, s, putRoomID("r", 7), putMember("r", "a", 1))
		if strings.Contains(log.String(), "synchronous_standby_names") {
			t.Errorf("warned though the standby confirms: %s", log.String())
		}
	}
	s := open(t, schematest.Hosts("x", primary, standby), leased())
	commit(t, s, putMessage(7, 1, nil), putSeen(1, 200, epoch))
	fill(t, s, 2)
	primary.Kill()
	try := func() error {
		ctx, cancel := context.WithTimeout(testContext(t), 3*time.Second)
		defer cancel()
		return s.CommitAgain(ctx, []engine.Change{putMessage(7, 2, nil), putSeen(2, 200, epoch)})
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
	if got := seqs(t, s, 7); !reflect.DeepEqual(got, []uint64{1, 2}) {
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
	s := open(t, schematest.Hosts("x", primary, standby), Options{CloseWait: time.Second})
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
	changes := []engine.Change{putMessage(7, 1, nil), putSeen(1, 200, epoch)}
	if err := s.Commit(ctx, changes); !errors.Is(err, ErrUncertain) {
		t.Errorf("the primary is frozen: %v", err)
	}
	// One connect_timeout, as it cannot be seen that it is not only slow.
	ctx, cancel = context.WithTimeout(testContext(t), 2*time.Second)
	defer cancel()
	if err := s.CommitAgain(ctx, changes); err != nil {
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
	waitUntil(t, "the standby has the tables", func() bool { return standby.Exec(testContext(t), "x", "TABLE imcd_lease") == nil })
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
	moved := &Store{opts: s.opts, dialect: d, db: db, names: s.names, quick: d.quick(), leftovers: newLeftovers()}
	for name, call := range map[string]func() error{
		"ping": func() error { return moved.Ping(testContext(t)) },
		"one message": func() error {
			return moved.Commit(testContext(t), []engine.Change{putMessage(7, 1, nil), putSeen(1, 200, epoch)})
		},
		"a room": func() error { return moved.Commit(testContext(t), []engine.Change{putRoomID("r", 7)}) },
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
