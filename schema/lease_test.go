package schema

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imcd/evapi/evapitest/child"
	"imcd/schema/schematest"
)

// lease is an Options with a Lease.
func leased() Options { return Options{Lease: &Lease{Listen: "127.0.0.1:8450"}} }

// startNow opens a database and takes its rooms, as tools do.
func startNow(ctx context.Context, url string) (*Store, error) {
	s, err := Open(ctx, url, leased())
	if err != nil {
		return nil, err
	}
	if err := s.OwnNow(ctx); err != nil {
		_ = s.Close() // the first error tells more
		return nil, err
	}
	return s, nil
}

// refused starts a tool on a database that another Store holds, and returns the error.
func refused(t *testing.T, url string) error {
	t.Helper()
	s, err := startNow(testContext(t), url)
	if err == nil {
		_ = s.Close()
		t.Fatal("a second one has the rooms")
	}
	return err
}

func TestSecondIsRefusedAndNamesTheFirst(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		first := open(t, url, leased())
		owns(t, first)
		commit(t, first, putRoomID("r", 7), putMember("r", "a", 1))
		err := refused(t, url)
		for _, words := range []string{"db_url: ", thisProcess("").String(), "http_listen 127.0.0.1:8450",
			"stop that one first"} {
			words, _, _ = strings.Cut(words, ", since")
			if !errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q does not say %q", err, words)
			}
		}
		commit(t, first, putMessage(7, 1, nil), putSeen(1, 200, epoch))
		// Tools may look, and those that know no lease may write.
		if _, err := Inspect(testContext(t), url, leased()); err != nil {
			t.Error(err)
		}
		commit(t, open(t, url, Options{}), putMember("r", "b", 0))
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		second := open(t, url, leased())
		commit(t, second, putMessage(7, 2, nil), putSeen(2, 200, epoch))
	})
}

// An imcd that is started while another one stops waits for it.
func TestSecondWaitsForOneThatEnds(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		first := open(t, url, leased())
		owns(t, first)
		if err := first.Ending(testContext(t)); err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(testContext(t), 2*time.Second)
		defer cancel()
		if _, err := startNow(short, url); !errors.Is(err, ErrHeld) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it does not end: %v", err)
		}
		opened := make(chan error, 1)
		go func() {
			s, err := startNow(testContext(t), url)
			if err == nil {
				err = s.Close()
			}
			opened <- err
		}()
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-opened; err != nil {
			t.Error(err)
		}
	})
}

func TestOneOfManyStarts(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		const starts = 4
		stores, errs := make(chan *Store, starts), make(chan error, starts)
		for range starts {
			go func() {
				s, err := startNow(testContext(t), url)
				stores <- s
				errs <- err
			}()
		}
		winners := 0
		for range starts {
			if s := <-stores; s != nil {
				winners++
				t.Cleanup(func() { _ = s.Close() })
			}
			if err := <-errs; err != nil && !errors.Is(err, ErrHeld) {
				t.Error(err)
			}
		}
		if winners != 1 {
			t.Errorf("%d of %d start", winners, starts)
		}
	})
}

func TestLeaseOfALinkedSQLiteFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, "sqlite://"+filepath.Join(dir, "x.db"), leased())
	if err := os.Symlink("x.db", filepath.Join(dir, "y.db")); err != nil {
		t.Fatal(err)
	}
	if err := refused(t, "sqlite://"+filepath.Join(dir, "y.db")); !errors.Is(err, ErrHeld) {
		t.Error(err)
	}
	// Who has the lock may not have said yet who it is.
	if err := os.WriteFile(filepath.Join(dir, "x.db"+leaseSuffix), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := refused(t, "sqlite://"+filepath.Join(dir, "x.db")); !errors.Is(err, ErrHeld) ||
		!strings.Contains(err.Error(), "nothing is known") {
		t.Error(err)
	}
}

// deadProcess is a holder that has ended, on this system.
func deadProcess(t *testing.T) holder {
	t.Helper()
	p, err := child.Start(exec.Command("sleep", "60"), false)
	if err != nil {
		t.Fatal(err)
	}
	h := thisProcess("")
	h.PID = p.Pid
	_, h.Started = processState(h.PID)
	if h.dead() {
		t.Error("a process that lives is dead")
	}
	other := h
	if other.Started += "1"; !other.dead() {
		t.Error("a process of that number that was started at another time is the same one")
	}
	for _, change := range []func(*holder){func(h *holder) { h.Boot = "other" },
		func(h *holder) { h.Namespace = "pid:[1]" },
		func(h *holder) { h.Boot = "" }, func(h *holder) { h.PID = 0 }} {
		other := h
		if change(&other); other.dead() {
			t.Errorf("%+v is dead", other)
		}
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if !h.dead() {
		t.Error("a process that was killed lives")
	}
	return h
}

// awaitBlocked waits until a statement waits for a lock.
func awaitBlocked(t *testing.T, s *Store) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if count(t, s,
			`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) > 0 {
			return
		}
	}
}

func TestRefusesOtherEncodings(t *testing.T) {
	t.Parallel()
	pg := schematest.New(t, schematest.Options{})
	for _, encoding := range []string{"LATIN1", "SQL_ASCII", "EUC_JP"} {
		name := strings.ToLower(encoding)
		if err := pg.Exec(testContext(t), "postgres",
			"CREATE DATABASE "+name+" TEMPLATE template0 LOCALE 'C' ENCODING '"+encoding+"'"); err != nil {
			t.Fatal(err)
		}
		_, err := Open(testContext(t), pg.URL(name), leased())
		if !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), "encoding is "+encoding) ||
			!strings.Contains(err.Error(), "ENCODING 'UTF8'") {
			t.Errorf("%s: %v", encoding, err)
		}
		if _, err := Inspect(testContext(t), pg.URL(name), Options{}); !errors.Is(err, ErrUnfit) {
			t.Errorf("%s, inspected: %v", encoding, err)
		}
	}
}

// What the environment says of the client's encoding does not count.
func TestClientEncodingIsForced(t *testing.T) {
	url := schematest.NewDatabase(t)
	t.Setenv("PGCLIENTENCODING", "LATIN1")
	for _, more := range []string{"", "?client_encoding=LATIN1"} {
		s := open(t, url+more, Options{})
		if got, err := stringsOf(testContext(t), s.db, "SHOW client_encoding"); err != nil || got[0] != "UTF8" {
			t.Errorf("client_encoding %v, %v", got, err)
		}
	}
}

// SQLite's UTF-16 holds all that UTF-8 does.
func TestSQLiteOfAnotherEncoding(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("PRAGMA encoding = 'UTF-16'; CREATE TABLE other (x)"); err != nil {
		t.Fatal(err)
	}
	s := open(t, "sqlite://"+path, leased())
	display := "Я ♥ 🐘"
	m := putMessage(7, 1, allBytes())
	m.Message.Display = display
	commit(t, s, putRoomID("r", 7), putMember("r", "é", 1), m)
	rows, err := s.Messages(testContext(t), 7, 0, 1)
	if err != nil || len(rows) != 1 || !sameMessage(rows[0], *m.Message) {
		t.Errorf("%+v, %v", rows, err)
	}
	if got := users(load(t, s)[at("r").URI()]); len(got) != 1 || got[0] != "é" {
		t.Errorf("members %q", got)
	}
}

func FuzzHolder(f *testing.F) {
	f.Add(thisProcess("127.0.0.1:1").encode())
	f.Add(`{"pid":-1,"since":"x"}`)
	f.Fuzz(func(t *testing.T, text string) {
		h := decodeHolder(text)
		if again := decodeHolder(h.encode()); h.PID != 0 && again.String() != h.String() {
			t.Errorf("%q became %q", h, again)
		}
		if strings.Contains(errHeld(h).Error(), "\n") {
			t.Error("more than a line")
		}
	})
}

// TestBeatsBackOff: while the database is away an engine tries less often, and still often enough.
func TestBeatsBackOff(t *testing.T) {
	wait := beatEvery
	for _, want := range []time.Duration{2 * beatEvery, beatAway, beatAway} {
		if wait = nextBeat(wait, ErrUnavailable); wait != want {
			t.Errorf("the next beat is after %v, want %v", wait, want)
		}
	}
	if wait = nextBeat(wait, nil); wait != beatEvery {
		t.Errorf("after one that succeeded the next beat is after %v", wait)
	}
}
