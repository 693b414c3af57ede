package schema

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"imcd/schema/schematest"
)

// returns waits for a call, which nothing but its own end may end.
func returns(t *testing.T, call func(ctx context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- call(ctx) }()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Error("it hangs")
		cancel()
		return <-done
	}
}

// TestConnectionLostInASnapshot: the server may go away at any moment of a Load.
func TestConnectionLostInASnapshot(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	s, other := open(t, url, Options{MaxConns: 1}), open(t, url, Options{})
	commit(t, s, putRoom("r", 0))
	err := returns(t, func(ctx context.Context) error {
		err := s.inSnapshot(ctx, func(snap snapshot) error {
			var pid int64
			if err := s.scan(ctx, snap, "pid", func(r *row) { pid = r.number(0) }, "SELECT pg_backend_pid()"); err != nil {
				return err
			}
			run(t, other, fmt.Sprintf("SELECT pg_terminate_backend(%d, %d)", pid, patience.Milliseconds()))
			return s.scan(ctx, snap, "rooms", func(*row) {}, sqlLoadRooms)
		})
		return wrap(ctx, "load", err)
	})
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	if n := len(load(t, s)); n != 1 {
		t.Errorf("%d rooms afterwards", n)
	}
}

// TestPanicInASnapshot: it comes out, and leaves the connection to others.
func TestPanicInASnapshot(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{MaxConns: 1})
		commit(t, s, putRoom("r", 0))
		err := returns(t, func(ctx context.Context) (err error) {
			defer func() { err = fmt.Errorf("%v", recover()) }()
			return s.inSnapshot(ctx, func(snap snapshot) error {
				return s.scan(ctx, snap, "rooms", func(*row) { panic("oops") }, sqlLoadRooms)
			})
		})
		if err == nil || err.Error() != "oops" {
			t.Errorf("%v", err)
		}
		if n := len(load(t, s)); n != 1 {
			t.Errorf("%d rooms afterwards", n)
		}
	})
}
