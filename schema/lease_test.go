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

	"imcd/engine/store"
	"imcd/schema/schematest"
)

// lease is an Options with a Lease.
func leased() Options { return Options{Lease: &Lease{Listen: "127.0.0.1:8450"}} }

// refused opens a database that another Store holds, and returns the error.
func refused(t *testing.T, url string) error {
	t.Helper()
	s, err := Open(testContext(t), url, leased())
	if err == nil {
		_ = s.Close()
		t.Fatal("a second imcd starts")
	}
	return err
}

func TestSecondIsRefusedAndNamesTheFirst(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		first := open(t, url, leased())
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
		if err := first.Ending(testContext(t)); err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(testContext(t), 2*time.Second)
		defer cancel()
		if _, err := Open(short, url, leased()); !errors.Is(err, ErrHeld) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it does not end: %v", err)
		}
		opened := make(chan error, 1)
		go func() {
			s, err := Open(testContext(t), url, leased())
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
				s, err := Open(testContext(t), url, leased())
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
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h := thisProcess("")
	h.PID = cmd.Process.Pid
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
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if !h.dead() {
		t.Error("a process that was killed lives")
	}
	return h
}

// setLease writes who has the lease.
func setLease(t *testing.T, s *Store, id int64, h holder) {
	t.Helper()
	if _, err := s.db.ExecContext(testContext(t), "UPDATE imcd_lease SET id = $1, beat = beat + 7, holder = $2", id,
		h.encode()); err != nil {
		t.Fatal(err)
	}
}

// An imcd that was killed on this host does not hold the next one up.
func TestLeaseOfAKilledProcess(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	setLease(t, open(t, url, Options{}), 77, deadProcess(t))
	began := time.Now()
	open(t, url, leased())
	if took := time.Since(began); took > leaseTimeout/2 {
		t.Errorf("the start took %v", took)
	}
}

// Of one on another host that is only known which does nothing any more.
func TestLeaseThatRunsOut(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	s := open(t, url, Options{})
	began := time.Now()
	setLease(t, s, 77, holder{Host: "elsewhere", PID: 1})
	open(t, url, leased())
	if took := time.Since(began); took < leaseTimeout {
		t.Errorf("it was taken after %v", took)
	}
}

// A database that was away for longer than the lease keeps its holder, too, from beating.
func TestLeaseOutlivesADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	var w leaseWatch
	row, now := leaseRow{id: 77, beat: 3}, epoch
	see := func(d time.Duration) time.Duration {
		now = now.Add(d)
		return w.look(row, now)
	}
	if d := see(0); d != 0 {
		t.Errorf("%v at first", d)
	}
	see(leaseGap)
	if d := see(2 * leaseTimeout); d != 0 { // the answer came late
		t.Errorf("unchanged for %v after a gap", d)
	}
	for d := leasePoll; d < leaseTimeout; d += leasePoll {
		if got := see(leasePoll); got != d {
			t.Fatalf("unchanged for %v, not %v", got, d)
		}
	}
	if d := see(leasePoll); d < leaseTimeout {
		t.Errorf("unchanged for %v: nobody ever takes it", d)
	}
	row.beat++
	if d := see(leasePoll); d != 0 {
		t.Errorf("unchanged for %v when it has changed", d)
	}
}

// Who wakes up after another imcd has taken the database writes nothing.
func TestWhoLostTheLeaseWritesNothing(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	lost := make(chan error, 2)
	s := open(t, url, Options{Lease: &Lease{Lost: func(err error) { lost <- err }}})
	commit(t, s, putRoomID("r", 7), putMember("r", "a", 1), putMessage(7, 1, nil))
	setLease(t, s, 77, holder{Host: "elsewhere", PID: 1})
	for what, changes := range map[string][]store.Change{
		"one message":  {putMessage(7, 2, nil), putSeen(1, 200, epoch)},
		"two messages": {putMessage(7, 2, nil), putMessage(7, 3, nil), putCursor(7, "a", 1)},
		"progress":     {putProgress(7, 1)},
		"a member":     {putMember("r", "b", 0)},
		"no room":      {deleteRoom("r")},
	} {
		if err := s.Commit(testContext(t), changes); !errors.Is(err, ErrTaken) || !errors.Is(err, ErrUnavailable) ||
			errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	select {
	case err := <-lost:
		if !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), "pid 1 on host elsewhere") {
			t.Errorf("lost: %v", err)
		}
	case <-time.After(patience):
		t.Error("it is not told")
	}
	if r := load(t, open(t, url, Options{}))[at("r").URI()]; len(r.Members) != 1 || r.Room.Seq != 1 || r.Room.Done != 0 {
		t.Errorf("stored %+v", r)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if id := count(t, open(t, url, Options{}), "SELECT id FROM imcd_lease"); id != 77 {
		t.Errorf("the lease is of %d", id)
	}
}

// A commit that is under way is done before the lease changes hands, however long
// its imcd is frozen in the middle of it.
func TestTakingTheLeaseWaitsForCommits(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	s, other := open(t, url, leased()), open(t, url, Options{})
	commit(t, s, putRoomID("r", 7))
	for _, ends := range []bool{true, false} {
		tx, err := s.db.BeginTx(testContext(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.dialect.mustHold(testContext(t), tx, s.holderID()); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec("UPDATE imcd_rooms SET done = done + 1"); err != nil {
			t.Fatal(err)
		}
		// A beat does not wait.
		if held, err := s.lease.(*rowLease).change(testContext(t), sqlBeat, s.holderID()); !held || err != nil {
			t.Error(held, err)
		}
		taken := make(chan int, 1)
		go func() {
			_, err := other.db.Exec("UPDATE imcd_lease SET id = CASE id WHEN $1 THEN 77 ELSE $1 END", s.holderID())
			if err != nil {
				t.Error(err)
			}
			taken <- count(t, other, "SELECT done FROM imcd_rooms")
		}()
		awaitBlocked(t, other)
		if ends {
			if err := tx.Commit(); err != nil {
				t.Error(err)
			}
		}
		if done := <-taken; done != 1 {
			t.Errorf("what was committed (%t) before the lease was taken is %d", ends, done)
		}
		if _, err := other.db.Exec("UPDATE imcd_lease SET id = $1", s.holderID()); err != nil {
			t.Fatal(err)
		}
		_ = tx.Rollback()
	}
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

// TestBeatsBackOff: while the database is away the holder tries less often, and still often
// enough to keep the lease.
func TestBeatsBackOff(t *testing.T) {
	wait := leaseBeat
	for _, want := range []time.Duration{2 * leaseBeat, leaseBeatAway, leaseBeatAway} {
		if wait = nextBeat(wait, ErrUnavailable); wait != want {
			t.Errorf("the next beat is after %v, want %v", wait, want)
		}
	}
	if took := leaseTimeout/2 + wait + leaseBeat; took >= leaseTimeout {
		t.Errorf("the row may not change for %v", took)
	}
	if wait = nextBeat(wait, nil); wait != leaseBeat {
		t.Errorf("after one that succeeded the next beat is after %v", wait)
	}
}
