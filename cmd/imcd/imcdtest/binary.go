package imcdtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"imcd/schema/schematest"
)

// Binary is what all tests of a package share: a program, or several in a folder. It is built when the first of them
// asks for it.
type Binary struct {
	Build func(ctx context.Context, dir string) (path string, err error) // puts it into dir

	once sync.Once
	dir  string // by once
	path string // by once
	err  error  // by once
}

// Path is what Build returned.
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

// MainOf runs the tests of a package, which may use PostgreSQL, and removes its binaries.
func MainOf(m *testing.M, binaries ...*Binary) {
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

// Both builds imcd and imcctl; their folder is its path.
func Both() *Binary {
	return &Binary{Build: func(ctx context.Context, dir string) (string, error) { return dir, Build(ctx, dir) }}
}

// Folder gives a test a folder of its own with the programs of Both. It is removed with the test.
func (b *Binary) Folder(t testing.TB) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range []string{"imcd", "imcctl"} {
		if err := os.Link(filepath.Join(b.Path(t), name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
