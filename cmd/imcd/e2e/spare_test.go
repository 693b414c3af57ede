package e2e

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"imcd/cmd/imcd/imcdtest"
	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// spareBound is how long a room may be silent when its imcd ends and there is a spare.
const spareBound = 2 * time.Second

// talk is somebody who says something every 50 ms, whatever becomes of it.
type talk struct {
	mu       sync.Mutex
	answered []time.Time // with 200; by mu
	accepted []string    // texts that were; by mu

	stop chan struct{}
	all  sync.WaitGroup
}

func startTalk(ctx context.Context, u *evapitest.UA, room, word string) *talk {
	k := &talk{stop: make(chan struct{})}
	k.all.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			text := fmt.Sprintf("%s #%d", word, n)
			k.all.Go(func() {
				if res, err := u.Say(ctx, room, text); err == nil && res.StatusCode == http.StatusOK {
					k.mu.Lock()
					defer k.mu.Unlock()
					k.answered = append(k.answered, time.Now())
					k.accepted = append(k.accepted, text)
				}
			})
			select {
			case <-tick.C:
			case <-k.stop:
				return
			}
		}
	})
	return k
}

// since returns when the first 200 after a moment came.
func (k *talk) since(t time.Time) (time.Time, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, at := range k.answered {
		if at.After(t) {
			return at, true
		}
	}
	return time.Time{}, false
}

// end returns the texts that were accepted.
func (k *talk) end() []string {
	close(k.stop)
	k.all.Wait()
	return k.accepted
}

// TestSpare: a second imcd on the same Postgres waits, and takes over whatever ends the first one. No message
// that was answered 200 is lost or comes twice.
func TestSpare(t *testing.T) {
	ends := map[string]func(s *stack.Stack) error{
		"killed":  func(s *stack.Stack) error { return s.Kill9() },
		"frozen":  func(s *stack.Stack) error { return s.SignalImcd(syscall.SIGSTOP) },
		"stopped": func(s *stack.Stack) error { return s.StopImcd() },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			ctx := kit.Within(t, 2*time.Minute)
			const room = "sip:chat-a@x"
			url := schematest.NewDatabase(t)
			s := start(t, "postgres", stack.Options{DBURL: url, Settings: oneOwner})
			alice, bob := agent(t, s, "alice"), agent(t, s, "bob")
			for _, u := range []*evapitest.UA{alice, bob} {
				kit.Say(t, u, room, "#join", 200)
			}
			spare := imcdtest.Run(t, imcdtest.Options{Dir: filepath.Dir(binary.Path(t)), Name: "spare-" + name, DBURL: url,
				Environ: []string{"IMCD_SPARE=1"}, Evapi: s.Kamailio().EvapiAddr(), Secret: s.Kamailio().Secret()})
			if _, body := kit.Get(t, "http://"+spare.HTTPAddr()+"/readyz"); !strings.Contains(string(body), `"rooms"`) {
				t.Errorf("readyz of the spare: %s", body)
			}
			first := startTalk(ctx, alice, room, "first")
			kit.Until(t, ctx, "messages are answered", func() bool { _, ok := first.since(time.Time{}); return ok })
			began := time.Now()
			if err := end(s); err != nil {
				t.Fatal(err)
			}
			if name == "stopped" { // it may take its time
				began = time.Now()
			}
			kit.Until(t, ctx, "messages are answered again", func() bool { _, ok := first.since(began); return ok })
			at, _ := first.since(began)
			t.Logf("%s: the next 200 after %v", name, at.Sub(began))
			if silent := at.Sub(began); silent > spareBound {
				t.Errorf("nobody was answered for %v", silent)
			}
			said := first.end()
			if name == "frozen" {
				if err := s.SignalImcd(syscall.SIGCONT); err != nil {
					t.Fatal(err)
				}
				kit.Until(t, ctx, "the first imcd is a spare", func() bool {
					return strings.Contains(s.LogTail(), "another imcd has the rooms")
				})
				// And back again.
				second := startTalk(ctx, alice, room, "second")
				kit.Until(t, ctx, "messages are answered by the spare", func() bool {
					_, ok := second.since(time.Time{})
					return ok
				})
				began = time.Now()
				if err := spare.Kill(); err != nil {
					t.Fatal(err)
				}
				kit.Until(t, ctx, "messages are answered again", func() bool { _, ok := second.since(began); return ok })
				said = append(said, second.end()...)
			}
			awaitOnce(t, ctx, bob, said)
		})
	}
}

// awaitOnce waits until bob has all texts, and fails if one came twice under different Call-IDs.
func awaitOnce(t *testing.T, ctx context.Context, bob *evapitest.UA, texts []string) {
	t.Helper()
	ids := func(all []evapitest.Received) map[string]map[string]bool {
		have := make(map[string]map[string]bool)
		for _, m := range all {
			_, text, _ := strings.Cut(m.Text(), "]: ")
			if have[text] == nil {
				have[text] = make(map[string]bool)
			}
			have[text][m.CallID] = true
		}
		return have
	}
	all, err := bob.Wait(ctx, func(all []evapitest.Received) bool {
		have := ids(all)
		for _, text := range texts {
			if have[text] == nil {
				return false
			}
		}
		return true
	})
	if err != nil {
		t.Errorf("not all of %d messages arrived: %v", len(texts), err)
	}
	for text, of := range ids(all) {
		if len(of) > 1 {
			t.Errorf("%q came with %d Call-IDs", text, len(of))
		}
	}
}
