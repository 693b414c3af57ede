package main

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"imcd/engine/store"
)

// TestWatch: systemd hears of imcd as long as it is alive, not while a part of it does not answer, and again when
// it does.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every = 10 * time.Second
		var stuck atomic.Bool
		var beats atomic.Int32
		var log strings.Builder
		alive := func(ctx context.Context) error {
			if stuck.Load() {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		tell := func(state string) {
			if state != "WATCHDOG=1" {
				t.Errorf("systemd hears %q", state)
			}
			beats.Add(1)
		}
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan struct{})
		go func() {
			defer close(over)
			watch(ctx, every, alive, tell, zerolog.New(&log))
		}()
		hears := func(in time.Duration, least, most int32) {
			t.Helper()
			<-time.After(in)
			synctest.Wait()
			if n := beats.Swap(0); n < least || n > most {
				t.Errorf("in %v systemd heard %d times, want %d to %d", in, n, least, most)
			}
		}
		hears(time.Second, 1, 1) // at once
		hears(time.Minute, 6, 6)
		stuck.Store(true)
		hears(time.Minute, 0, 1)
		stuck.Store(false)
		hears(time.Minute, 5, 7)
		cancel()
		<-over
		if n := strings.Count(log.String(), "a part of imcd does not answer"); n != 1 {
			t.Errorf("logged %d times:\n%s", n, log.String())
		}
		synctest.Wait()
		hears(time.Minute, 0, 0)
	})
}

// TestWatchIsAsked: without a watchdog in the unit there is none, and one that is for another process is not ours.
func TestWatchIsAsked(t *testing.T) {
	for _, env := range [][2]string{{"", ""}, {"30000000", "1"}, {"nonsense", ""}} {
		t.Setenv("WATCHDOG_USEC", env[0])
		t.Setenv("WATCHDOG_PID", env[1])
		end := startWatch(func(context.Context) error {
			t.Error("it asks")
			return errors.New("dead")
		}, zerolog.Nop())
		end()
		end()
	}
}

// patient is an imcd that runs until something is in one of its channels.
type patient struct {
	lost, failed chan error
	stopped      bool
	abandoned    bool
}

func (*patient) Alive(context.Context) error { return nil }
func (p *patient) Lost() <-chan error        { return p.lost }
func (p *patient) Failed() <-chan error      { return p.failed }
func (p *patient) Stop()                     { p.stopped = true }
func (p *patient) Abandon()                  { p.abandoned = true }

// TestAttend: imcd is stopped when it is asked to, or has lost its database; after a panic the process ends at once,
// and writes nothing more.
func TestAttend(t *testing.T) {
	fault := errors.New("a fault")
	for name, tt := range map[string]struct {
		ends    func(p *patient, cancel func())
		err     error
		stopped bool
	}{
		"deposed":  {func(p *patient, _ func()) { p.lost <- store.ErrDeposed }, store.ErrDeposed, false},
		"asked to": {func(_ *patient, cancel func()) { cancel() }, nil, true},
		"lost":     {func(p *patient, _ func()) { p.lost <- fault }, fault, true},
		"failed":   {func(p *patient, _ func()) { p.failed <- fault }, fault, false},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		p := &patient{lost: make(chan error, 1), failed: make(chan error, 1)}
		tt.ends(p, cancel)
		if err := attend(ctx, p, zerolog.Nop()); !errors.Is(err, tt.err) || p.stopped != tt.stopped ||
			p.abandoned != (tt.err == store.ErrDeposed) {
			t.Errorf("%s: %v, stopped: %v, abandoned: %v", name, err, p.stopped, p.abandoned)
		}
		cancel()
	}
}
