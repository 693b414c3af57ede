// Package rig has the parts that all measurements of a single imcd share: the imcd, which runs in a lab of its own, the
// traffic through it, and the places where results go.
package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"imcd/cmd/imcdbench/internal/contest"
	"imcd/cmd/imcdbench/internal/load"
	"imcd/cmd/internal/stack"
)

// Body is the size of a message in bytes, if a plan does not name another.
const Body = 100

// Rig is an imcd that is measured.
type Rig struct {
	*contest.System
	lab *contest.Lab
	out Output
}

// Output is where results go.
type Output struct {
	Raw      io.Writer // one line of JSON for each result
	Progress io.Writer // one line for each step
}

// Start opens a lab and starts a contestant, an imcd, in it. The caller must call Stop.
func Start(ctx context.Context, opts contest.Options, spec contest.Spec, out Output) (*Rig, error) {
	lab, err := contest.NewLab(opts)
	if err != nil {
		return nil, err
	}
	s, err := lab.Start(ctx, spec)
	if err != nil {
		return nil, errors.Join(err, lab.Close())
	}
	return &Rig{System: s, lab: lab, out: out}, nil
}

// Stop ends the contestant and its lab.
func (r *Rig) Stop() error { return errors.Join(r.System.Stop(), r.lab.Close()) }

// Load is the traffic of the lab.
func (r *Rig) Load() *load.Load { return r.lab.Load }

// Newcomer is the number of the i-th user who is in no room.
func (r *Rig) Newcomer(i int) int { return r.lab.Newcomer(i) }

// PhonesOf are the phones of all members, as a cell wants them.
func (r *Rig) PhonesOf(c contest.Cell) load.Phones { return r.lab.Phones(c) }

// Idle waits until imcd has no more copies to send.
func (r *Rig) Idle(ctx context.Context) error { return r.Stack().Idle(ctx) }

// Calm waits until imcd, Kamailio and PostgreSQL rest: they use a tenth of a core at most. What imcd writes of a storm
// of registrations takes seconds after Idle.
func (r *Rig) Calm(ctx context.Context) error {
	const look = 500 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	before, err := r.CPU()
	for err == nil {
		if err = stack.Pause(ctx, look); err != nil {
			return fmt.Errorf("wait until %s rests: %w", r.Spec.Name, err)
		}
		now, cpuErr := r.CPU()
		if cpuErr == nil && now-before <= look/10 {
			return nil
		}
		before, err = now, cpuErr
	}
	return err
}

// Send carries out a plan.
func (r *Rig) Send(ctx context.Context, plan load.Plan) (*load.Result, error) {
	plan.Addr = r.Addr()
	if plan.Body == 0 {
		plan.Body = Body
	}
	return r.lab.Load.Send(ctx, plan)
}

// Deliver sends n messages to a room, each when all members have the one before. A message that is refused, or a copy
// that is lost, is an error.
func (r *Rig) Deliver(ctx context.Context, n int, plan load.Plan) (*load.Result, error) {
	plan.Window, plan.Most = 1, n
	res, err := r.Send(ctx, plan)
	if err != nil {
		return nil, err
	}
	if res.Lost > 0 || res.Accepted != n {
		return nil, fmt.Errorf("%d of %d messages accepted, %d copies lost", res.Accepted, n, res.Lost)
	}
	return res, r.Idle(ctx)
}

// Progress tells which step begins or has ended.
func (r *Rig) Progress(format string, args ...any) {
	fmt.Fprintf(r.out.Progress, "%s, %s\n", r.Spec.Name, fmt.Sprintf(format, args...))
}

// Keep writes a result to the raw results.
func (r *Rig) Keep(result any) error { return r.out.Keep(result) }

// Keep writes a result to the raw results.
func (o Output) Keep(result any) error {
	if err := json.NewEncoder(o.Raw).Encode(result); err != nil {
		return fmt.Errorf("write the raw results: %w", err)
	}
	return nil
}
