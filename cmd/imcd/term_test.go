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
)

// TestTermUnderTraffic: SIGTERM while users talk. Each message is answered, and
// each that was answered 200 arrives.
func TestTermUnderTraffic(t *testing.T) {
	k, i := startBoth(t, imcdtest.Options{})
	alice, bob := user(t, k, "alice"), user(t, k, "bob")
	say(t, alice, lobby, "#create", 200)
	say(t, bob, lobby, "#join", 200)

	var talk sync.WaitGroup
	var accepted, refused atomic.Int64
	ctx, enough := context.WithCancel(testContext(t))
	defer enough()
	for range 4 {
		talk.Go(func() {
			for ctx.Err() == nil {
				res, err := alice.Say(testContext(t), lobby, "still here")
				switch {
				case err != nil:
					t.Errorf("a message had no answer: %v", err)
					return
				case res.StatusCode == 200:
					accepted.Add(1)
				case res.StatusCode == 503:
					refused.Add(1)
				default:
					t.Errorf("a message was answered %d %s", res.StatusCode, res.Reason)
				}
			}
		})
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
	enough()
	talk.Wait()
	if code := i.ExitCode(); code != 0 || strings.Contains(i.Log(), "DATA RACE") {
		t.Errorf("exit code %d\n%s", code, i.Log())
	}
	if refused.Load() == 0 {
		t.Error("no message was refused")
	}
	got, err := bob.Wait(testContext(t), func(all []evapitest.Received) bool {
		return countTexts(all, "still here") >= int(accepted.Load())
	})
	if n := countTexts(got, "still here"); err != nil || n != int(accepted.Load()) {
		t.Errorf("%d messages were accepted, %d arrived; %v", accepted.Load(), n, err)
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
