package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"imcd/evapi"
)

// TestPanic: a panic of one goroutine is reported, so that the process can end; what was answered before it comes
// to its members after the next start, once and in order.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := pair(t, nil)
		h.answers("bob", evapi.Result{}) // nothing, ever
		for _, text := range []string{"one", "two", "three"} {
			if a := h.answerTo(text); a.Code != 200 {
				t.Fatalf("%+v", a)
			}
		}
		select {
		case err := <-h.e.Failed():
			t.Fatal(err)
		default:
		}
		name, err := ParseName("sip:r@x.org", "")
		if err != nil {
			t.Fatal(err)
		}
		h.e.shardOf(name).inbox.post(func() { panic("a fault") })
		if err := <-h.e.Failed(); err == nil || !strings.Contains(err.Error(), "panic: a fault") {
			t.Errorf("failed: %v", err)
		}
		alive := func(e *Engine) error {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			return e.Alive(ctx)
		}
		if err := alive(h.e); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("alive: %v", err)
		}
		// The process ends. It writes nothing any more.
		next := openHouse(t, h.store.crash(), nil)
		next.e.Wake()
		next.pass(time.Second)
		next.wantBodies(next.relay.take(), "bob", []string{"one", "two", "three"})
		if err := alive(next.e); err != nil {
			t.Error(err)
		}
	})
}

// TestMoves: a shard that is busy with one thing for long is seen without asking it.
func TestMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHouse(t, newMemStore(), nil)
		defer h.close()
		<-time.After(time.Minute) // nothing happens
		if !h.e.Moves(time.Second) {
			t.Error("an idle engine is stuck")
		}
		stuck := make(chan struct{})
		onShard(h.e.shards[1], func(*shard) { <-stuck })
		<-time.After(2 * time.Second)
		if h.e.Moves(time.Second) {
			t.Error("it moves")
		}
		close(stuck)
		<-time.After(tick)
		if !h.e.Moves(time.Second) {
			t.Error("it is stuck for ever")
		}
	})
}
