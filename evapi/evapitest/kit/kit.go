// Package kit sets up tests: contexts, waiting, and a Kamailio and user agents that end with the test.
package kit

import (
	"context"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imcd/evapi/evapitest"
)

// Patience is how long a test waits for an event that must come. No test measures time with it.
const Patience = time.Minute

// poll is the time between two looks at a state.
const poll = 5 * time.Millisecond

// Context is done after Patience, and when the test ends.
func Context(t testing.TB) context.Context {
	t.Helper()
	return Within(t, Patience)
}

// Within is a context that is done after d, and when the test ends.
func Within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// Eventually waits until ok returns true; the text names the condition if the test fails.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	Until(t, Context(t), what, ok)
}

// Until is Eventually with another bound than Patience.
func Until(t testing.TB, ctx context.Context, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("waiting until %s: %v", what, ctx.Err())
		case <-tick.C:
		}
	}
}

// Await takes a value from a channel, or sees that it is closed; the text names the value if the test fails.
func Await[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(Patience):
		t.Fatalf("not within %v: %s", Patience, what)
		panic("unreachable")
	}
}

// Kamailio starts a Kamailio that ends with the test. Its log is shown if the test fails.
func Kamailio(t testing.TB, opts evapitest.Options) *evapitest.Kamailio {
	t.Helper()
	k, err := evapitest.StartKamailio(Context(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("Kamailio:\n%s", k.LogTail())
		}
	})
	return k
}

// UA opens a user agent that is closed with the test.
func UA(t testing.TB, cfg evapitest.UAConfig) *evapitest.UA {
	t.Helper()
	u, err := evapitest.NewUA(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	})
	return u
}

// Registered is a UA that has registered at k, its proxy.
func Registered(t testing.TB, k *evapitest.Kamailio, cfg evapitest.UAConfig) *evapitest.UA {
	t.Helper()
	cfg.Proxy = k.SIPAddr()
	u := UA(t, cfg)
	if err := u.Register(Context(t)); err != nil {
		t.Fatal(err)
	}
	return u
}

// Say sends text to a room and wants it answered with code.
func Say(t testing.TB, u *evapitest.UA, room, text string, code int) {
	t.Helper()
	res, err := u.Say(Context(t), room, text)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != code {
		t.Fatalf("%q to %s: %d %s, want %d", text, room, res.StatusCode, res.Reason, code)
	}
}

// Peer connects to the evapi port of a Kamailio until the test ends.
func Peer(t testing.TB, k *evapitest.Kamailio) *evapitest.Peer {
	t.Helper()
	p, err := evapitest.DialPeer(Context(t), k.EvapiAddr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// Get asks an HTTP server, on a connection of its own.
func Get(t testing.TB, url string) (status int, body []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(Context(t), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true // a connection that is kept would keep a goroutine
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err = io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, body
}

// GoFiles hands the text of every Go file in dir and its folders to each.
func GoFiles(t testing.TB, dir string, each func(path string, text []byte)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil {
			each(path, text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
