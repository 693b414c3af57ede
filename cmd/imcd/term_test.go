package main

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"imcd/cmd/imcd/imcdtest"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// TestTermUnderTraffic: SIGTERM while users talk. Each message is answered, and
// each that was answered 200 arrives.
func TestTermUnderTraffic(t *testing.T) {
	k, i := startBoth(t, imcdtest.Options{})
	alice, bob := user(t, k, "alice"), user(t, k, "bob")
	kit.Say(t, alice, lobby, "#create", 200)
	kit.Say(t, bob, lobby, "#join", 200)

	var talk sync.WaitGroup
	var accepted atomic.Int64
	ctx := kit.Context(t)
	for range 4 {
		talk.Go(func() { accepted.Add(talkUntilRefused(ctx, t, alice)) })
	}
	if _, err := bob.WaitN(ctx, 50); err != nil {
		t.Fatal(err)
	}
	asked := time.Now()
	if err := i.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-i.Done():
	case <-ctx.Done():
		t.Fatal("imcd did not end")
	}
	t.Logf("imcd ended after %v", time.Since(asked))
	talk.Wait()
	if code := i.ExitCode(); code != 0 || strings.Contains(i.Log(), "DATA RACE") {
		t.Errorf("exit code %d\n%s", code, i.Log())
	}
	got, err := bob.Wait(ctx, func(all []evapitest.Received) bool {
		return countTexts(all, "still here") >= int(accepted.Load())
	})
	if err != nil {
		t.Errorf("%d messages were accepted, %d arrived; %v", accepted.Load(), countTexts(got, "still here"), err)
	}
}

// talkUntilRefused sends one message after the other until one is answered 503,
// and returns how many were accepted.
func talkUntilRefused(ctx context.Context, t *testing.T, u *evapitest.UA) (accepted int64) {
	for {
		res, err := u.Say(ctx, lobby, "still here")
		switch {
		case err != nil:
			t.Errorf("a message had no answer: %v", err)
			return accepted
		case res.StatusCode == 503:
			return accepted
		case res.StatusCode != 200:
			t.Errorf("a message was answered %d %s", res.StatusCode, res.Reason)
		}
		accepted++
	}
}

func countTexts(all []evapitest.Received, text string) int {
	n := 0
	for _, r := range all {
		if strings.Contains(r.Text(), text) {
			n++
		}
	}
	return n
}

// TestTermBounded: neither a Kamailio nor a database that is frozen keeps imcd
// from ending, with work under way, in the 10 s that it promises.
func TestTermBounded(t *testing.T) {
	for _, frozen := range []string{"Kamailio", "Postgres"} {
		t.Run(frozen, func(t *testing.T) {
			db := schematest.New(t, schematest.Options{})
			if err := db.CreateDatabase("imcd"); err != nil {
				t.Fatal(err)
			}
			k, i := startBoth(t, imcdtest.Options{DBURL: db.URL("imcd")})
			alice, bob := user(t, k, "alice"), user(t, k, "bob")
			kit.Say(t, alice, lobby, "#create", 200)
			kit.Say(t, bob, lobby, "#join", 200)
			bob.AnswerWith(0) // so that a copy is under way
			kit.Say(t, alice, lobby, "hello", 200)

			freeze, thaw := func() error { return k.Signal(syscall.SIGSTOP) },
				func() error { return k.Signal(syscall.SIGCONT) }
			if frozen == "Postgres" {
				freeze, thaw = db.Pause, db.Resume
			}
			if err := freeze(); err != nil {
				t.Fatal(err)
			}
			var ask sync.WaitGroup
			defer ask.Wait()
			defer func() {
				if err := thaw(); err != nil {
					t.Error(err)
				}
			}()
			ask.Go(func() {
				// Its outcome depends on what is frozen; that it comes does not.
				if _, err := alice.Say(kit.Context(t), lobby, "#create chat-other"); err != nil &&
					frozen == "Postgres" {
					t.Error(err)
				}
			})
			asked := time.Now()
			if err := i.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			select {
			case <-i.Done():
			case <-time.After(10 * time.Second):
				t.Fatal("imcd has not ended after 10 s")
			}
			t.Logf("imcd ended after %v", time.Since(asked))
			if code := i.ExitCode(); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}
