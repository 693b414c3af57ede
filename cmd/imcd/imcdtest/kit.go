package imcdtest

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// buildPatience is how long a build may take, with an empty cache on a machine that does other things.
const buildPatience = 10 * time.Minute

// Main builds programs into a folder, whose name it writes to bin, runs the tests of a package, and removes the folder.
// It fails if a goroutine is left. Use it in TestMain.
func Main(m *testing.M, bin *string, build func(ctx context.Context, dir string) error) {
	dir, err := os.MkdirTemp("", "imcd-bin-")
	if err == nil {
		*bin = dir
		ctx, cancel := context.WithTimeout(context.Background(), buildPatience)
		err = build(ctx, dir)
		cancel()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	schematest.Main(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// Run starts an imcd that ends with the test: with exit code 0, unless the test has killed it or opts.AnyExit. Its log
// is shown if the test fails.
func Run(t testing.TB, opts Options) *Imcd {
	t.Helper()
	i, err := Start(kit.Context(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		end := i.Stop
		if i.killed || opts.AnyExit {
			end = i.end
		}
		if err := end(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("imcd:\n%s", i.Log())
		}
	})
	return i
}

// Beside is Run for an imcd of k, which is ready when Beside returns.
func Beside(t testing.TB, k *evapitest.Kamailio, opts Options) *Imcd {
	t.Helper()
	opts.Evapi, opts.Secret = k.EvapiAddr(), k.Secret()
	i := Run(t, opts)
	if err := i.AwaitReady(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	return i
}
