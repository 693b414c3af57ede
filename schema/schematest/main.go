package schematest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// server is the one that the tests of a package share, started when the first of
// them asks for a database. It is a process-wide resource, like the test binary's
// temporary folder, hence a variable of the package.
var server shared

type shared struct {
	once sync.Once
	dir  string    // by once
	pg   *Postgres // by once
	err  error     // by once

	mu   sync.Mutex
	made int // databases, by mu
}

// Main runs a package's tests, ends the shared servers and exits; with failure
// also if a goroutine is left running. Use it in TestMain.
func Main(m *testing.M, options ...goleak.Option) {
	goleak.VerifyTestMain(run{m}, options...)
}

// run ends the shared servers when the tests have run.
type run struct{ m *testing.M }

// Run implements goleak.TestingM.
func (r run) Run() int {
	code := r.m.Run()
	maria.stop()
	if err := server.stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

func (s *shared) start() (*Postgres, error) {
	s.once.Do(func() {
		if s.dir, s.err = os.MkdirTemp("", "imcd-postgres-"); s.err != nil {
			return
		}
		s.pg, s.err = StartPostgres(context.Background(), s.dir, Options{})
	})
	return s.pg, s.err
}

func (s *shared) stop() error {
	s.once.Do(func() { s.err = errors.New("the tests are over") })
	if s.pg != nil {
		s.pg.Stop()
	}
	if s.dir == "" {
		return nil
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("remove the shared PostgreSQL: %w", err)
	}
	return nil
}

// NewDatabase makes an empty database on the shared server and returns its
// db_url. It is dropped when the test ends.
func NewDatabase(t testing.TB) string {
	t.Helper()
	pg := Server(t)
	server.mu.Lock()
	server.made++
	name := fmt.Sprintf("test%d", server.made)
	server.mu.Unlock()
	if err := pg.CreateDatabase(name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pg.DropDatabase(name); err != nil {
			t.Error(err)
		}
	})
	return pg.URL(name)
}

// Server returns the shared server. A test must not stop it.
func Server(t testing.TB) *Postgres {
	t.Helper()
	pg, err := server.start()
	if err != nil {
		t.Fatal(err)
	}
	return pg
}

// New starts a server for one test alone, which may stop it. It ends with the
// test.
func New(t testing.TB, opts Options) *Postgres {
	t.Helper()
	dir, err := os.MkdirTemp("", "imcd-postgres-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	pg, err := StartPostgres(t.Context(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pg.Stop)
	return pg
}
