package schema

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"imcd/engine/store"
	"imcd/schema/schematest"
)

func TestWorksAgainAfterRestartOfPostgres(t *testing.T) {
	t.Parallel()
	pg := schematest.New(t, schematest.Options{})
	s := open(t, pg.URL("postgres"), Options{})
	commit(t, s, putRoom("r", 0), putMember("r", "a", 1))
	for name, stop := range map[string]func() error{"fast": pg.StopFast, "immediate": pg.Stop, "crash": pg.Kill} {
		// Several idle connections, each of which is lost.
		fill(t, s, 2)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		for call, err := range calls(testContext(t), s) {
			if !errors.Is(err, ErrUnavailable) {
				t.Errorf("%s, %s while the server is down: %v", name, call, err)
			}
		}
		if err := pg.Start(testContext(t)); err != nil {
			t.Fatal(err)
		}
		for call, err := range calls(testContext(t), s) {
			if err != nil {
				t.Errorf("%s, %s after the restart: %v", name, call, err)
			}
		}
		fill(t, s, 2)
		if err := pg.Restart(testContext(t)); err != nil {
			t.Fatal(err)
		}
		commit(t, s, putMember("r", "after-"+name, 0))
	}
	if got := len(users(load(t, s)[at("r").URI()])); got != 4 {
		t.Errorf("%d members, want 4", got)
	}
}

// fill makes the pool hold n idle connections.
func fill(t *testing.T, s *Store, n int) {
	t.Helper()
	for range n {
		tx, err := s.db.BeginTx(testContext(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
	}
}

// calls makes every call of a Store. Commit must not be tried before another
// call where the outcome differs from that of a stale connection.
func calls(ctx context.Context, s *Store) map[string]error {
	_, loadRooms := s.LoadRooms(ctx, []store.Name{at("r")})
	_, messages := s.Messages(ctx, 1, 0, 10)
	_, seen := s.Seen(ctx, store.Part{}, epoch)
	_, prune := s.Prune(ctx, store.Limits{Messages: 1, SeenAge: time.Hour}, epoch)
	return map[string]error{
		"Messages":  messages,
		"Seen":      seen,
		"Prune":     prune,
		"LoadRooms": loadRooms,
		"Commit":    s.Commit(ctx, store.Fence{}, []store.Change{putRoom("r", 1)}),
		"Load":      s.Load(ctx, store.Part{}, func(store.RoomState) error { return nil }),
		"Ping":      s.Ping(ctx),
	}
}

func TestFrozenPostgresDoesNotHoldCallsUp(t *testing.T) {
	t.Parallel()
	pg := schematest.New(t, schematest.Options{})
	s := open(t, pg.URL("postgres"), Options{})
	commit(t, s, putRoom("r", 0), putMember("r", "a", 1))
	if err := pg.Pause(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan map[string]error, 1)
	go func() {
		all := make(map[string]error)
		for name, call := range map[string]func(context.Context) error{
			"Commit": func(ctx context.Context) error { return s.Commit(ctx, store.Fence{}, []store.Change{putRoom("r", 1)}) },
			"Ping":   s.Ping,
			"Load": func(ctx context.Context) error {
				return s.Load(ctx, store.Part{}, func(store.RoomState) error { return nil })
			},
			"LoadRooms": func(ctx context.Context) error {
				_, err := s.LoadRooms(ctx, []store.Name{at("r")})
				return err
			},
			"Messages": func(ctx context.Context) error { _, err := s.Messages(ctx, 1, 0, 10); return err },
			"Seen":     func(ctx context.Context) error { _, err := s.Seen(ctx, store.Part{}, epoch); return err },
			"Prune":    func(ctx context.Context) error { _, err := s.Prune(ctx, store.Limits{Messages: 1}, epoch); return err },
			"Open":     func(ctx context.Context) error { _, err := Open(ctx, pg.URL("postgres"), Options{}); return err },
		} {
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			all[name] = call(ctx)
			cancel()
		}
		ended <- all
	}()
	select {
	case all := <-ended:
		for name, err := range all {
			if !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
		}
	case <-time.After(patience):
		t.Error("a call does not end")
	}
	if err := pg.Resume(); err != nil {
		t.Fatal(err)
	}
	commit(t, s, putMember("r", "b", 0))
	if err := pg.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil { // ends as well
		t.Errorf("close: %v", err)
	}
	if err := pg.Resume(); err != nil {
		t.Fatal(err)
	}
}

func TestReadOnlyPostgresIsUnavailable(t *testing.T) {
	t.Parallel()
	pg := schematest.New(t, schematest.Options{})
	s := open(t, pg.URL("postgres"), Options{})
	commit(t, s, putRoom("r", 0))
	if err := pg.Exec(testContext(t), "postgres", "ALTER SYSTEM SET default_transaction_read_only = on"); err != nil {
		t.Fatal(err)
	}
	if err := pg.Restart(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(testContext(t)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("ping: %v", err)
	}
	if _, err := Open(testContext(t), pg.URL("postgres"), Options{}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("open: %v", err)
	}
}

func TestCommitsOfAKilledPostgresAreThere(t *testing.T) {
	t.Parallel()
	pg := schematest.New(t, schematest.Options{Fsync: true})
	s := open(t, pg.URL("postgres"), Options{})
	commit(t, s, putRoomID("r", 1), putMemberAt("r", "a", 1), putMessage(1, 1, allBytes()), putProgress(1, 1))
	before := load(t, s)
	if err := pg.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := pg.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if got := load(t, s); !reflect.DeepEqual(got, before) {
		t.Errorf("left %v, want %v", got, before)
	}
	if got := seqs(t, s, 1); len(got) != 1 {
		t.Errorf("messages %v", got)
	}
}

func TestLockedSQLiteIsUnavailable(t *testing.T) {
	t.Parallel()
	url := "sqlite://" + filepath.Join(t.TempDir(), "x.db")
	s, other := open(t, url, Options{}), open(t, url, Options{})
	commit(t, s, putRoom("r", 0))
	tx, err := other.db.BeginTx(testContext(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(testContext(t), 50*time.Millisecond)
	defer cancel()
	if err := s.Commit(ctx, store.Fence{}, []store.Change{putRoom("q", 0)}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("commit: %v", err)
	}
	if err := s.Ping(ctx); !errors.Is(err, ErrUnavailable) {
		t.Errorf("ping: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	commit(t, s, putRoom("q", 0))
	if got := load(t, s); len(got) != 2 {
		t.Errorf("rooms %v", got)
	}
}

// TestWithoutPreparedStatements: a pooler like PgBouncer may hand each transaction to
// another connection of the server, on which nothing is prepared, or something else.
func TestWithoutPreparedStatements(t *testing.T) {
	t.Parallel()
	pg := schematest.New(t, schematest.Options{})
	seq := uint64(1)
	for _, does := range []string{"DEALLOCATE ALL",
		`DEALLOCATE ALL; PREPARE "1" (bigint) AS SELECT $1; PREPARE "2" (bigint) AS SELECT $1`} {
		for _, with := range [][]store.Change{{putProgress(7, 1)}, {putSeen(1, 200, epoch)}} {
			s := open(t, pg.URL("postgres"), Options{})
			s.commits.SetMaxOpenConns(1) // always the same
			if seq == 1 {
				commit(t, s, putRoomID("r", 7), putMember("r", "a", 1), putMessage(7, 1, []byte("x")))
			}
			for range 2 {
				if _, err := s.commits.Exec(does); err != nil {
					t.Fatal(err)
				}
				seq++
				commit(t, s, append(with, putMessage(7, seq, []byte("x")))...)
			}
		}
	}
	s := open(t, pg.URL("postgres"), Options{})
	if got, err := s.Messages(testContext(t), 7, 0, 100); err != nil || len(got) != 9 {
		t.Errorf("%d messages, %v", len(got), err)
	}
}

// TestTimedOutConnectionIsNotUsedAgain: it may still be asked to cancel what it does.
func TestTimedOutConnectionIsNotUsedAgain(t *testing.T) {
	t.Parallel()
	pg := schematest.New(t, schematest.Options{})
	s := open(t, pg.URL("postgres"), Options{})
	s.commits.SetMaxOpenConns(1)
	commit(t, s, putRoomID("r", 7), putMember("r", "a", 1))
	lock, err := s.db.BeginTx(testContext(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Exec("LOCK TABLE imcd_rooms"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(testContext(t), 50*time.Millisecond)
	defer cancel()
	changes := []store.Change{putMessage(7, 1, []byte("x"))}
	if err := s.Commit(ctx, store.Fence{}, changes); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a commit that waits too long: %v", err)
	}
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		commit(t, s, putMessage(7, uint64(i+1), []byte("x")))
	}
}

// TestCommitHasItsConnections: a commit, quick or not, waits for no connection while others have all there are.
func TestCommitHasItsConnections(t *testing.T) {
	t.Parallel()
	s := open(t, schematest.NewDatabase(t), Options{MaxConns: 2})
	for range 2 {
		other, err := s.db.Conn(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close() // nothing is under way
	}
	ctx, cancel := context.WithTimeout(testContext(t), 5*time.Second)
	defer cancel()
	for _, changes := range [][]store.Change{
		{putRoomID("r", 7), putMember("r", "a", 1)}, {putMessage(7, 1, []byte("x"))},
	} {
		if err := s.Commit(ctx, store.Fence{}, changes); err != nil {
			t.Errorf("%d changes: %v", len(changes), err)
		}
	}
}
