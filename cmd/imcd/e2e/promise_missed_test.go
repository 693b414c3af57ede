package e2e

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest/kit"
)

// TestPromiseMissedRegistration: a member who registers while imcd cannot hear of
// it gets what it missed soon after, not by the slow retry.
func TestPromiseMissedRegistration(t *testing.T) {
	for name, deaf := range map[string]func(t *testing.T, ctx context.Context, s *stack.Stack, meanwhile func()){
		"imcd frozen":        frozenMeanwhile,
		"Kamailio restarted": restartedMeanwhile,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const room = "chat-missed"
			s := start(t, "sqlite", stack.Options{})
			k := newSink(t, s, nil)
			phone := chatAgent(t, s, "phone")
			ctx := kit.Within(t, 2*time.Minute)
			mustSay(t, phone, "alice", room, "#create")
			mustSay(t, phone, "bob", room, "#join")
			for n := range 3 {
				mustSay(t, phone, "alice", room, fmt.Sprintf("message #%d", n))
			}
			kit.Until(t, ctx, "bob is found to be offline", func() bool {
				m, err := metrics(ctx, s)
				return err == nil && m[`imc_deliveries_total{result="offline"}`] > 0
			})
			deaf(t, ctx, s, func() {
				if err := registerAt(ctx, k.ua, []string{"bob"}, 3600); err != nil {
					t.Error(err)
				}
			})
			kit.Until(t, ctx, "bob has everything", func() bool { return len(k.order(seat{room, "bob"})) == 3 })
		})
	}
}

func frozenMeanwhile(t *testing.T, ctx context.Context, s *stack.Stack, meanwhile func()) {
	if err := s.SignalImcd(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	phone := chatAgent(t, s, "phone")
	kit.Until(t, ctx, "Kamailio takes imcd for dead", func() bool {
		began := time.Now()
		code, err := sayAs(ctx, phone, "alice", "chat-missed", "nobody answers")
		return err == nil && code == 503 && time.Since(began) < time.Second
	})
	meanwhile()
	if err := s.SignalImcd(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// restartedMeanwhile restarts Kamailio while imcd is stopped, so that it cannot be
// connected again before the registration.
func restartedMeanwhile(t *testing.T, ctx context.Context, s *stack.Stack, meanwhile func()) {
	if err := s.SignalImcd(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := s.Kamailio().Restart(ctx); err != nil {
		t.Fatal(err)
	}
	meanwhile()
	if err := s.SignalImcd(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}
