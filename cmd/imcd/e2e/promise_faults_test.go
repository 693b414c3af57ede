package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"

	"imcd/cmd/internal/stack"
	"imcd/schema/schematest"
)

// faults of one round of the script, by what they do.
var faultsOfARound = []struct {
	name  string
	times int
	do    func(*attack, context.Context) error
}{
	{"imcd kill -9", 20, (*attack).kill},
	{"Kamailio restart", 5, (*attack).kamailio},
	{"PostgreSQL restart", 5, (*attack).postgres},
	{"imcd frozen", 5, (*attack).freeze},
}

// How many messages must be answered 200 between two faults, at least and at most.
const (
	betweenMin = 60
	betweenMax = 160
)

// attack does bad things to a system under load.
type attack struct {
	stack  *stack.Stack
	pg     *schematest.Postgres
	sink   *sink
	load   *traffic
	users  []string
	random *rand.Rand

	kills   int                        // of imcd so far
	back    map[string][]time.Duration // from a fault's end to the next 200, by name
	repeats map[string]int             // further copies until the next fault, by name
}

// script is the order of the faults: each round has all of them, shuffled.
func (a *attack) script(rounds int) []int {
	var list []int
	for range rounds {
		var round []int
		for i, f := range faultsOfARound {
			for range f.times {
				round = append(round, i)
			}
		}
		a.random.Shuffle(len(round), func(i, j int) { round[i], round[j] = round[j], round[i] })
		list = append(list, round...)
	}
	return list
}

// run plays the script; each fault comes when enough has been said since the last.
func (a *attack) run(ctx context.Context, rounds int) error {
	a.back, a.repeats = make(map[string][]time.Duration), make(map[string]int)
	if err := a.progress(ctx); err != nil {
		return err
	}
	for i, which := range a.script(rounds) {
		f := faultsOfARound[which]
		ok := a.load.ok.Load()
		_, before := a.sink.counts()
		if err := f.do(a, ctx); err != nil {
			return fmt.Errorf("fault %d, %s: %w", i, f.name, err)
		}
		ended := time.Now()
		if err := a.wait(ctx, "a 200", func() bool { return a.load.ok.Load() > ok }); err != nil {
			return fmt.Errorf("after fault %d, %s: %w", i, f.name, err)
		}
		a.back[f.name] = append(a.back[f.name], time.Since(ended))
		if err := a.progress(ctx); err != nil {
			return fmt.Errorf("after fault %d, %s: %w", i, f.name, err)
		}
		_, after := a.sink.counts()
		a.repeats[f.name] += after - before
	}
	return nil
}

// progress waits until some more messages are answered 200, which are sent no
// faster than they are delivered.
func (a *attack) progress(ctx context.Context) error {
	goal := a.load.ok.Load() + int64(betweenMin+a.random.IntN(betweenMax-betweenMin))
	more := func() bool { return a.load.ok.Load() >= goal && a.load.keepsUp() }
	if err := a.wait(ctx, "more answers", more); err != nil {
		return err
	}
	// Else all faults would come right after an answer, while its copies are under way.
	anyTime := time.NewTimer(time.Duration(a.random.Int64N(int64(100 * time.Millisecond))))
	defer anyTime.Stop()
	select {
	case <-anyTime.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *attack) wait(ctx context.Context, what string, cond func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

func (a *attack) kill(ctx context.Context) error {
	if err := a.stack.Kill9(); err != nil {
		return err
	}
	// The next one sends on another lane; at last to the phones as a next hop, to which
	// Kamailio passes copies on as they are.
	lanes := []string{"rpc", "batch", "direct", "sip", "sip"}
	next := a.kills % len(lanes)
	a.stack.Set("fanout", lanes[next])
	a.stack.Set("outbound_proxy", "")
	if next == len(lanes)-1 {
		a.stack.Set("outbound_proxy", strings.Replace(a.sink.ua.Contact(), "sink@", "", 1))
	}
	a.kills++
	return a.stack.StartImcd(ctx)
}

// kamailio restarts Kamailio, which forgets who is registered: phones register
// again when they get round to it, whether imcd is connected or not.
func (a *attack) kamailio(ctx context.Context) error {
	k := a.stack.Kamailio()
	end := k.Halt
	if a.random.IntN(2) == 0 {
		end = k.Kill
	}
	if err := end(); err != nil {
		return err
	}
	if err := k.Start(ctx); err != nil {
		return err
	}
	return registerAt(ctx, a.sink.ua, a.users, 3600)
}

func (a *attack) postgres(ctx context.Context) error {
	refused := a.load.refused.Load()
	end := []func() error{a.pg.StopFast, a.pg.Stop, a.pg.Kill}[a.random.IntN(3)]
	if err := end(); err != nil {
		return err
	}
	err := a.wait(ctx, "refused messages", func() bool { return a.load.refused.Load() > refused+2 })
	if err != nil {
		return err
	}
	return a.pg.Start(ctx)
}

// freeze stops imcd for a moment, or for so long that Kamailio answers for it.
func (a *attack) freeze(ctx context.Context) error {
	if err := a.stack.SignalImcd(syscall.SIGSTOP); err != nil {
		return err
	}
	what, cond := "waiting messages", func() bool { return a.load.waiting.Load() > 20 }
	if a.random.IntN(2) == 0 {
		refused := a.load.refused.Load()
		what, cond = "refused messages", func() bool { return a.load.refused.Load() > refused+10 }
	}
	err := a.wait(ctx, what, cond)
	return errors.Join(err, a.stack.SignalImcd(syscall.SIGCONT))
}

// figures tells how the system came back, by fault.
func (a *attack) figures() string {
	var b strings.Builder
	for _, f := range faultsOfARound {
		took := slices.Sorted(slices.Values(a.back[f.name]))
		if len(took) > 0 {
			fmt.Fprintf(&b, "\n  %-18s %3d times, next 200 after %v (median), %v (longest), %d copies repeated", f.name,
				len(took), took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond),
				a.repeats[f.name])
		}
	}
	return b.String()
}
