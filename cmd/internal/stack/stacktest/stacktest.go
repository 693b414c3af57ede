// Package stacktest starts stacks for tests.
package stacktest

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// Binary is an imcd that all tests of a package share. It is built when the first of them asks for it.
type Binary struct {
	Build func(ctx context.Context, dir string) (path string, err error) // stack.Build or stack.BuildPlain

	once sync.Once
	dir  string // by once
	path string // by once
	err  error  // by once
}

// Path is where the imcd is.
func (b *Binary) Path(t testing.TB) string {
	t.Helper()
	b.once.Do(func() {
		if b.dir, b.err = os.MkdirTemp("", "imcd-test-"); b.err == nil {
			b.path, b.err = b.Build(context.Background(), b.dir)
		}
	})
	if b.err != nil {
		t.Fatal(b.err)
	}
	return b.path
}

// Main runs the tests of a package, which may use PostgreSQL, and removes its binaries.
func Main(m *testing.M, binaries ...*Binary) {
	schematest.Main(m, goleak.Cleanup(func(code int) {
		for _, b := range binaries {
			if b.dir == "" {
				continue
			}
			if err := os.RemoveAll(b.dir); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = max(code, 1)
			}
		}
		os.Exit(code)
	}))
}

// Start starts a stack that ends with the test. The logs are shown if the test fails.
func Start(t testing.TB, opts stack.Options) *stack.Stack {
	t.Helper()
	s, err := stack.Start(kit.Context(t), opts)
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
