package schema

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"imcd/engine/store"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// uncertainCases are commits of each kind, each with what makes the server's messages known
// to a Cutter: that with which it commits.
var uncertainCases = map[string]struct {
	changes []store.Change
	has     string
}{
	"one message": {[]store.Change{putMessage(7, 3, []byte("cut me")), putSeen(3, 200, epoch)}, "cut me"},
	"messages": {[]store.Change{putMessage(7, 3, []byte("cut me")), putMessage(8, 1, nil), putSeen(3, 200, epoch),
		putSeen(4, 200, epoch), putCursor(7, "a", 2)}, hex.EncodeToString([]byte("cut me"))},
	"a member and a message": {[]store.Change{putMember("r", "c", 0), putMessage(7, 3, []byte("x")),
		putSeen(3, 200, epoch)}, "COMMIT"},
	"a new room": {[]store.Change{putRoomID("new", 9), putMember("new", "a", 1), putMessage(9, 1, nil),
		putSeen(3, 200, epoch)}, "COMMIT"},
	"the same room again": {[]store.Change{deleteRoom("r"), putRoomID("r", 9), putMember("r", "c", 1),
		putMessage(9, 1, nil), putSeen(3, 200, epoch)}, "COMMIT"},
	"a notice": {[]store.Change{putNote(5, "a", []byte("x"), epoch), putSeen(3, 200, epoch)}, "COMMIT"},
}

// uncertainStart is what all of them change.
var uncertainStart = []store.Change{putRoomID("r", 7), putMember("r", "a", 1), putMember("r", "b", 0),
	putRoomID("q", 8), putMessage(7, 1, nil), putMessage(7, 2, nil), putSeen(3, 403, epoch.Add(-time.Minute))}

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
	seen, err := s.Seen(testContext(t), store.Part{}, epoch.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(seen, func(a, b store.SeenRow) int { return bytes.Compare(a.Key[:], b.Key[:]) })
	notes, err := s.Notes(testContext(t), store.Part{}, 10)
	if err != nil {
		t.Fatal(err)
	}
	return text + fmt.Sprintln(seen, notes)
}

// committedOnce is what a store holds after changes were committed without any trouble.
func committedOnce(t *testing.T, changes []store.Change) string {
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
					if err := s.CommitAgain(testContext(t), store.Fence{}, c.changes); err != nil {
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
		for _, changes := range [][]store.Change{
			{putMessage(7, 2, nil), putSeen(9, 200, epoch)},
			{putMessage(99, 1, nil), putSeen(9, 200, epoch)},
			{putMember("r", "c", 0), putMessage(7, 2, nil), putSeen(9, 200, epoch)},
		} {
			err := s.CommitAgain(testContext(t), store.Fence{}, changes)
			if !errors.Is(err, ErrInvalid) || errors.Is(err, ErrUncertain) {
				t.Errorf("%v: %v", changes, err)
			}
		}
		// Deliveries are written once more.
		for range 2 {
			err := s.CommitAgain(testContext(t), store.Fence{}, []store.Change{putCursor(7, "a", 1), putProgress(7, 2)})
			if err != nil {
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
			for _, opts := range []Options{{}, leased()} {
				n++
				want := committedOnce(t, c.changes)
				s := openStart(t, pg, cutter, fmt.Sprint("cut", n), opts)
				f := nextFence(t, s)
				cut := cutter.Cut(schematest.Moment(moment), c.has)
				err := s.Commit(testContext(t), f, c.changes)
				if err != nil && !errors.Is(err, ErrUncertain) {
					t.Errorf("%s, cut %s: %v", name, what, err)
				}
				if err != nil {
					err = s.CommitAgain(testContext(t), f, c.changes)
				}
				if err != nil {
					t.Errorf("%s, cut %s, again: %v", name, what, err)
				}
				kit.Await(t, "the cut", cut.Done)
				if got := everything(t, s); got != want {
					t.Errorf("%s, cut %s: left\n%s\nwant\n%s", name, what, got, want)
				}
			}
		}
	}
}

// openStart opens a new database through the cutter, and commits uncertainStart to it.
func openStart(t *testing.T, pg *schematest.Postgres, cutter *schematest.Cutter, name string, opts Options) *Store {
	t.Helper()
	newDatabase(t, pg, name)
	s := open(t, cutter.URL(name), opts)
	commit(t, s, uncertainStart...)
	return s
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
		s := openStart(t, pg, cutter, database, Options{MaxConns: 1}) // which Commit itself uses but once again
		cut := cutter.Cut(schematest.LateCommit, c.has)
		done := make(chan error, 1)
		go func() {
			err := s.Commit(testContext(t), store.Fence{}, c.changes)
			if errors.Is(err, ErrUncertain) {
				err = s.CommitAgain(testContext(t), store.Fence{}, c.changes)
			}
			done <- err
		}()
		kit.Await(t, "the cut", cut.Done)
		if c.has == "COMMIT" {
			// The transaction is open at the server, and has what is asked for.
			kit.Eventually(t, "it waits for the transaction", func() bool {
				return pg.Exec(testContext(t), database, "SELECT 1 / count(*) FROM pg_stat_activity WHERE datname = "+
					"current_database() AND wait_event_type = 'Lock' AND wait_event = 'transactionid'") == nil
			})
		} else if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		cut.Release()
		kit.Await(t, "the end of the commit", cut.Settled)
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
