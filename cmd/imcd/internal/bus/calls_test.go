package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"imcd/evapi/jsonrpc"
	"imcd/schema"
)

// wire carries rows between two engines at once.
type wire struct {
	mu    sync.Mutex
	ends  map[int64]*Calls // by mu
	full  bool             // by mu
	cut   bool             // by mu: rows are lost
	dead  map[int64]bool   // by mu
	count int              // by mu: of rows
}

// end is where an engine publishes.
type end struct {
	*wire
	me int64
}

func (e end) Publish(r schema.BusRow) error {
	e.mu.Lock()
	to, full, cut := e.ends[r.To], e.full, e.cut
	e.count++
	e.mu.Unlock()
	switch {
	case full:
		return schema.ErrBusFull
	case cut:
		return nil
	}
	r.From = e.me
	to.Hear(r)
	return nil
}

func (e end) Shared() bool { return true }

func (e end) Lives(engine int64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.dead[engine]
}

func (w *wire) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// calling runs f in a bubble with engine 1, which asks, and engine 2, which has methods.
func calling(t *testing.T, methods map[string]jsonrpc.Method, f func(t *testing.T, w *wire, asks *Calls)) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{ends: map[int64]*Calls{}, dead: map[int64]bool{}}
		for engine := range int64(3) {
			w.ends[engine] = NewCalls(end{w, engine}, methods, zerolog.Nop())
			w.ends[engine].Start()
		}
		f(t, w, w.ends[1])
		for _, c := range w.ends {
			c.Stop()
		}
	})
}

func echo(_ context.Context, params json.RawMessage) (any, error) { return params, nil }

// TestCalls: a request gets the result or the error of the engine that has the room.
func TestCalls(t *testing.T) {
	methods := map[string]jsonrpc.Method{"echo": echo,
		"refuses": func(context.Context, json.RawMessage) (any, error) {
			return nil, fmt.Errorf("%w", &jsonrpc.Error{Code: -32004, Message: "no such room"})
		},
		"fails": func(context.Context, json.RawMessage) (any, error) { return nil, errors.New("secret") },
		"long": func(context.Context, json.RawMessage) (any, error) {
			return strings.Repeat("x", maxAnswer), nil
		},
		"odd": func(context.Context, json.RawMessage) (any, error) { return "\xff\x00", nil },
	}
	calling(t, methods, func(t *testing.T, w *wire, asks *Calls) {
		for _, c := range []struct{ method, params, result, message string }{
			{"echo", `["a",{"b":1}]`, `["a",{"b":1}]`, ""},
			{"echo", `["` + "\xff" + `"]`, "[\"\ufffd\"]", ""},
			{"odd", ``, `"\ufffd\u0000"`, ""},
			{"refuses", `[]`, ``, "no such room (code -32004)"},
			{"fails", `[]`, ``, "internal error (code -32603)"},
			{"long", `[]`, ``, "the answer is too long"},
			{"nothing", `[]`, ``, "no method"},
		} {
			got, err := asks.Ask(t.Context(), 2, c.method, json.RawMessage(c.params))
			if string(got) != c.result || (err == nil) != (c.message == "") ||
				err != nil && !strings.Contains(err.Error(), c.message) {
				t.Errorf("%s: %s %v", c.method, got, err)
			}
		}
		if n := len(asks.open); n != 0 {
			t.Errorf("%d requests are open", n)
		}
	})
}

// TestCallsWithoutAnswer: whatever becomes of the other engine, a request ends with an error that says so.
func TestCallsWithoutAnswer(t *testing.T) {
	var began chan struct{}
	methods := map[string]jsonrpc.Method{"echo": echo, "hangs": func(ctx context.Context, _ json.RawMessage) (any, error) {
		began <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	calling(t, methods, func(t *testing.T, w *wire, asks *Calls) {
		began = make(chan struct{}, 10)
		ask := func(method, want string, most time.Duration) {
			t.Helper()
			at := time.Now()
			_, err := asks.Ask(t.Context(), 2, method, nil)
			if err == nil || !strings.Contains(err.Error(), want) || time.Since(at) > most {
				t.Errorf("%s: %v after %v", method, err, time.Since(at))
			}
		}
		ask("hangs", "has not answered in time", callTimeout)
		<-began
		go func() {
			<-began
			w.set(func() { w.dead[2] = true })
		}()
		ask("hangs", "has ended", time.Second)
		w.set(func() { w.dead[2], w.full = false, true })
		ask("echo", schema.ErrBusFull.Error(), time.Second)
		w.set(func() { w.full, w.cut = false, true })
		ask("echo", "has not answered in time", callTimeout)
		w.set(func() { w.cut = false })
		asks.Hear(schema.BusRow{Kind: kindAnswer, Body: `{"id":1,"result":1}`}) // nobody waits for it any more
		asks.Hear(schema.BusRow{Kind: kindAnswer, Body: `{`})
		asks.Hear(schema.BusRow{Kind: kindCall, Body: `{`})
		if n := len(asks.open); n != 0 {
			t.Errorf("%d requests are open", n)
		}
	})
}

// TestTooManyCalls: requests beyond a bound are refused, where they are asked and where they are answered.
func TestTooManyCalls(t *testing.T) {
	var release chan struct{}
	methods := map[string]jsonrpc.Method{"waits": func(context.Context, json.RawMessage) (any, error) {
		<-release
		return true, nil
	}}
	calling(t, methods, func(t *testing.T, w *wire, asks *Calls) {
		release = make(chan struct{})
		var all sync.WaitGroup
		outcomes := make(chan error, 3*maxCalls)
		ask := func() {
			_, err := asks.Ask(t.Context(), 2, "waits", nil)
			outcomes <- err
		}
		for range 2 * maxCalls {
			all.Go(ask)
		}
		synctest.Wait()
		w.set(func() { w.cut = true }) // the first ones were refused there
		for range maxCalls {
			all.Go(ask)
		}
		synctest.Wait()
		w.set(func() { w.cut = false })
		close(release)
		all.Wait()
		close(outcomes)
		ok, here, there, late := 0, 0, 0, 0
		for err := range outcomes {
			switch {
			case err == nil:
				ok++
			case strings.Contains(err.Error(), "wait for other imcd"):
				here++
			case strings.Contains(err.Error(), "of other imcd wait"):
				there++
			case strings.Contains(err.Error(), "in time"):
				late++
			}
		}
		if ok+there+here+late != 3*maxCalls || ok < maxCalls || here < maxCalls || late > callWorkers {
			t.Errorf("%d answered, %d refused here and %d there, %d without an answer", ok, here, there, late)
		}
	})
}
