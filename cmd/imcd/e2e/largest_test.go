package e2e

import (
	"bytes"
	"sort"
	"testing"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// TestLargestMessage looks for the largest body that is passed on: it arrives
// whole, and one byte more is refused and reaches nobody.
func TestLargestMessage(t *testing.T) {
	t.Parallel()
	s := start(t, "sqlite", stack.Options{Settings: map[string]string{"attachment_line": ""}})
	ctx := kit.Context(t)
	alice, bob := agent(t, s, "alice"), agent(t, s, "bob")
	for _, u := range []*evapitest.UA{alice, bob} {
		if res, err := u.Say(ctx, "sip:chat-a@x", "#join"); err != nil || res.StatusCode != 200 {
			t.Fatalf("join: %v %v", res, err)
		}
	}
	for name, unit := range map[string]string{"plain": "x", "quotes": `"`, "NUL": "\x00"} {
		t.Run(name, func(t *testing.T) {
			code := 0
			send := func(n int) int {
				res, err := alice.Message(ctx, "sip:chat-a@x", "text/x", bytes.Repeat([]byte(unit), n))
				if err != nil {
					t.Fatal(err)
				}
				code = res.StatusCode
				return code
			}
			const most = 33000
			least := 10000
			refused := least + sort.Search(most-least, func(i int) bool { return send(least+i) != 200 })
			if err := s.Idle(ctx); err != nil {
				t.Fatal(err)
			}
			if send(refused) != 413 {
				t.Errorf("%d bytes: %d", refused, code)
			}
			bob.Clear()
			if send(refused-1) != 200 {
				t.Errorf("%d bytes: %d", refused-1, code)
			}
			if err := s.Idle(ctx); err != nil {
				t.Fatal(err)
			}
			got := bob.Received()
			if len(got) != 1 || !bytes.Equal(got[0].Body, bytes.Repeat([]byte(unit), refused-1)) {
				t.Errorf("bob received %d messages", len(got))
			}
			t.Logf("the largest body has %d bytes", refused-1)
		})
	}
}
