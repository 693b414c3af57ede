package schematest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

	initOnce sync.Once
	initDir  string // holds data/ of a server that was never started; by initOnce
	initErr  error  // by initOnce
}

// template returns the data/ of a server that was never started: a copy of it takes less than initdb does.
func (s *shared) template() (string, error) {
	s.initOnce.Do(func() {
		if s.initDir, s.initErr = os.MkdirTemp("", "imcd-postgres-"); s.initErr == nil {
			_, s.initErr = newPostgres(context.Background(), s.initDir, "", Options{})
		}
	})
	return filepath.Join(s.initDir, "data"), s.initErr
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
	if err := errors.Join(maria.stop(), server.stop()); err != nil {
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
		var template string
		if template, s.err = s.template(); s.err == nil {
			s.pg, s.err = startPostgres(context.Background(), s.dir, template, Options{})
		}
	})
	return s.pg, s.err
}

func (s *shared) stop() error {
	s.once.Do(func() { s.err = errors.New("the tests are over") })
	var err error
	if s.pg != nil {
		err = s.pg.Stop()
	}
	s.initOnce.Do(func() {})
	for _, dir := range []string{s.dir, s.initDir} {
		err = errors.Join(err, os.RemoveAll(dir)) // no error if it is empty
	}
	if err != nil {
		return fmt.Errorf("end the shared PostgreSQL: %w", err)
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

// tempDir is a new directory for one server of a test, which another user than the test's may be given. It is removed
// when the test ends.
func tempDir(t testing.TB, server string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "imcd-"+server+"-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// New starts a server for one test alone, which may stop it. It ends with the
// test.
func New(t testing.TB, opts Options) *Postgres {
	t.Helper()
	dir := tempDir(t, "postgres")
	template, err := server.template()
	if err != nil {
		t.Fatal(err)
	}
	pg, err := startPostgres(t.Context(), dir, template, opts)
	if err != nil {
		t.Fatal(err)
	}
	ends(t, pg)
	return pg
}

// ends ends a server with the test.
func ends(t testing.TB, pg *Postgres) {
	t.Cleanup(func() {
		if err := pg.Stop(); err != nil {
			t.Error(err)
		}
	})
}
