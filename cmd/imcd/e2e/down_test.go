package e2e

import (
	"slices"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest/kit"
)

// tries is over how many requests a median is taken.
const tries = 21

// median is the median duration of f.
func median(t *testing.T, f func() (*sip.Response, error), check func(*sip.Response) bool) time.Duration {
	t.Helper()
	var took []time.Duration
	for range tries {
		began := time.Now()
		res, err := f()
		if err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(began))
		if !check(res) {
			t.Fatalf("reply is %d %s", res.StatusCode, res.Reason)
		}
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// TestDown: without imcd rooms are answered 503 at once, by Kamailio alone.
func TestDown(t *testing.T) {
	t.Parallel()
	s := start(t, "sqlite", stack.Options{})
	alice := agent(t, s, "alice")
	ctx := kit.Context(t)
	if err := s.Kill9(); err != nil {
		t.Fatal(err)
	}
	// The first may find the connection's end not noticed yet, and waits.
	if res, err := alice.Say(ctx, "sip:chat-a@x", "#create"); err != nil || res.StatusCode != 503 {
		t.Fatalf("after the kill: %v %v", res, err)
	}
	refused := median(t, func() (*sip.Response, error) { return alice.Say(ctx, "sip:chat-a@x", "hello") },
		func(res *sip.Response) bool { return res.StatusCode == 503 && res.GetHeader("Retry-After") != nil })
	options := median(t, func() (*sip.Response, error) { return alice.Options(ctx, "sip:"+s.Kamailio().SIPAddr()) },
		func(res *sip.Response) bool { return res.StatusCode == 200 })
	t.Logf("503 takes %v, OPTIONS %v", refused, options)
	if refused > 20*options {
		t.Errorf("503 takes %v, OPTIONS %v", refused, options)
	}
	if err := s.StartImcd(ctx); err != nil {
		t.Fatal(err)
	}
	if res, err := alice.Say(ctx, "sip:chat-a@x", "#create"); err != nil || res.StatusCode != 200 {
		t.Errorf("after the start: %v %v", res, err)
	}
}
