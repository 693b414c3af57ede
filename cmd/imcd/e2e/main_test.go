package e2e

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"imcd/cmd/internal/convo"
	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
	kamailiocfg "imcd/kamailio-cfg"
	"imcd/schema/schematest"
)

// binary is the imcd that all tests of this package share, built when the first
// of them asks for it.
var binary = built{build: stack.Build}

// plain is the same without the race detector.
var plain = built{build: stack.BuildPlain}

type built struct {
	build func(ctx context.Context, dir string) (string, error)
	once  sync.Once
	dir   string // by once
	path  string // by once
	err   error  // by once
}

func (b *built) get() (string, error) {
	b.once.Do(func() {
		if b.dir, b.err = os.MkdirTemp("", "imcd-e2e-"); b.err == nil {
			b.path, b.err = b.build(context.Background(), b.dir)
		}
	})
	return b.path, b.err
}

func (b *built) remove() error {
	if b.dir == "" {
		return nil
	}
	return os.RemoveAll(b.dir)
}

func TestMain(m *testing.M) {
	schematest.Main(m, goleak.Cleanup(func(code int) {
		for _, b := range []*built{&binary, &plain} {
			if err := b.remove(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = max(code, 1)
			}
		}
		os.Exit(code)
	}))
}

// databases are what everything is tried on.
func databases() []string { return []string{"sqlite", "postgres"} }

// start starts a system for a test, with an empty database of that kind.
func start(t *testing.T, database string, opts stack.Options) *stack.Stack {
	t.Helper()
	var err error
	if opts.Binary == "" {
		if opts.Binary, err = binary.get(); err != nil {
			t.Fatal(err)
		}
	}
	if database == "postgres" && opts.DBURL == "" {
		opts.DBURL = schematest.NewDatabase(t)
	}
	opts.Kamailio = convo.WithRC(opts.Kamailio, kamailiocfg.File(kamailiocfg.Demo))
	s, err := stack.Start(withTimeout(t, time.Minute), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("imcd:\n%s\nKamailio:\n%s", s.LogTail(), s.Kamailio().LogTail())
		}
	})
	return s
}

// withTimeout is a context for something that hangs if it takes so long.
func withTimeout(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// agent is a user agent with its own address of record, registered.
func agent(t *testing.T, s *stack.Stack, name string) *evapitest.UA {
	t.Helper()
	u, err := s.UA(withTimeout(t, time.Minute), name)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
