package engine

import (
	"context"
	"fmt"
	"runtime/debug"
)

// loop runs one of the engine's goroutines until it ends. If it panics, what it owns cannot be relied on,
// and nobody else has it: see Failed.
func (e *Engine) loop(name string, run func()) {
	e.loops.Go(func() {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			e.log.Error().Str("loop", name).Str("panic", fmt.Sprint(p)).Bytes("stack", debug.Stack()).
				Msg("a fault in imcd: it ends, and delivers after the next start what it has taken")
			select {
			case e.failed <- fmt.Errorf("%s: panic: %v", name, p):
			default: // the first counts
			}
		}()
		run()
	})
}

// Failed gives the error of a goroutine of the engine that has panicked. The process must end then, and
// without Stop, which would write what is in memory. What was answered is in the database, and is delivered
// after the next start.
func (e *Engine) Failed() <-chan error { return e.failed }

// Alive waits until all shards have answered, or ctx ends, which is the error.
func (e *Engine) Alive(ctx context.Context) error {
	_, err := gather(ctx, e, func(*shard) []struct{} { return nil })
	return err
}
