package phones

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"imcd/cmd/internal/stack"
	"imcd/schema/schematest"
)

// binary is the imcd that all tests of this package share, built when the first of
// them asks for it.
var binary built

type built struct {
	once sync.Once
	dir  string // by once
	path string // by once
	err  error  // by once
}

func (b *built) get() (string, error) {
	b.once.Do(func() {
		if b.dir, b.err = os.MkdirTemp("", "imcd-phones-"); b.err == nil {
			b.path, b.err = stack.Build(context.Background(), b.dir)
		}
	})
	return b.path, b.err
}

func TestMain(m *testing.M) {
	schematest.Main(m, goleak.Cleanup(func(code int) {
		if binary.dir != "" {
			if err := os.RemoveAll(binary.dir); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = max(code, 1)
			}
		}
		os.Exit(code)
	}))
}

// withTimeout is a context for something that hangs if it takes so long.
func withTimeout(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
