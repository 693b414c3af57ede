package e2e

import (
	"strconv"
	"testing"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest/kit"
)

// TestRetryAfter: a client that is too fast learns how long to wait, and is let
// through after that, with the same request.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	s := start(t, "sqlite", stack.Options{Settings: map[string]string{"rate_sender_messages": "1/2s"}})
	ctx := kit.Context(t)
	alice := agent(t, s, "alice")
	if res, err := alice.Say(ctx, "sip:chat-a@x", "#create"); err != nil || res.StatusCode != 200 {
		t.Fatalf("create: %v %v", res, err)
	}
	for refused := false; !refused; {
		res, err := alice.Say(ctx, "sip:chat-a@x", "hello")
		if err != nil {
			t.Fatal(err)
		}
		if refused = res.StatusCode == 480; !refused {
			continue
		}
		h := res.GetHeader("Retry-After")
		if h == nil {
			t.Fatalf("480 without Retry-After: %s", res)
		}
		if n, err := strconv.Atoi(h.Value()); err != nil || n < 1 || n > 2 {
			t.Errorf("Retry-After is %q", h.Value())
		}
	}
	for {
		res, err := alice.Say(ctx, "sip:chat-a@x", "hello again")
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode == 200 {
			return
		}
	}
}
