package stack_test

import (
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest/kit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSystem(t *testing.T) {
	binary, err := stack.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx := kit.Within(t, 2*time.Minute)
	s, err := stack.Start(ctx, stack.Options{Binary: binary})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		if err := s.Stop(); err != nil {
			t.Errorf("second Stop: %v", err)
		}
	})
	alice, err := s.UA(ctx, "alice")
	if err != nil {
		t.Fatal(err)
	}
	if res, err := alice.Say(ctx, "sip:chat-a@example.org", "#create"); err != nil || res.StatusCode != 200 {
		t.Fatalf("create: %v %v", res, err)
	}
	for _, end := range []func() error{s.Kill9, s.StopImcd} {
		if err := s.Idle(ctx); err != nil {
			t.Fatal(err)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if res, err := alice.Say(ctx, "sip:chat-a@example.org", "x"); err != nil || res.StatusCode != 503 {
			t.Errorf("without imcd: %v %v", res, err)
		}
		if err := s.StartImcd(ctx); err != nil {
			t.Fatal(err)
		}
		var active bool
		if err := s.Call(ctx, "imc.room_active", []string{"sip:chat-a@example.org"}, &active); err != nil || !active {
			t.Errorf("after the restart: %v %v", active, err)
		}
	}
	if err := s.StartImcd(ctx); err != stack.ErrRunning {
		t.Errorf("second start: %v", err)
	}
	if err := s.SignalImcd(syscall.SIGSTOP); err != nil {
		t.Error(err)
	}
}

func TestImcdThatFails(t *testing.T) {
	ctx := kit.Within(t, 2*time.Minute)
	if s, err := stack.Start(ctx, stack.Options{Binary: "/bin/false", RPCPort: 1, HTTPPort: 1}); err == nil {
		t.Errorf("it started: %v", s.Stop())
	}
}
