// Package hosts measures what a fleet costs: the same messages go through one Kamailio with one imcd, and through
// several, each with an imcd of its own, which share the rooms.
package hosts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"imcd/cmd/imcdbench/internal/contest"
	"imcd/cmd/imcdbench/internal/load"
	"imcd/cmd/imcdbench/internal/rig"
	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
)

// Options of Run.
type Options struct {
	Hosts          int           // of the larger fleet; at least 2
	Rooms, Members int           // rooms to which each sender writes; there are as many senders as hosts
	For            time.Duration // how long messages are sent in each round
	Rounds         int
	Rest           time.Duration // after that CPU times are read: Kamailio frees a transaction 5 s after its end
}

// Result is the result of a Run.
type Result struct {
	Kind       string  `json:"kind"` // hosts
	Contestant string  `json:"contestant"`
	Options    Options `json:"options"`
	One        []Round `json:"one"`     // on one host
	Several    []Round `json:"several"` // on Options.Hosts
}

// Round is what came of the messages of one round.
type Round struct {
	Deliveries int64                    `json:"deliveries"`
	Lost       int64                    `json:"lost"`
	Refused    int                      `json:"refused"`
	Took       time.Duration            `json:"took_ns"` // until the last delivery
	CPU        map[string]time.Duration `json:"cpu_ns"`  // of all Kamailios, all imcd, and the one PostgreSQL
}

const (
	// quiet is how long no copy may come before deliveries count as lost.
	quiet = 40 * time.Second
	// ahead is how many messages of a room may be on their way.
	ahead = 5
)

// bench is two fleets, and the senders that write to one or the other.
type bench struct {
	o     Options
	labs  []*contest.Lab // a sender each
	fleet map[int]*fleet // by number of hosts
}

// Run measures a contestant, an imcd, on one host and on several. All senders write at the same time, each to the
// Kamailio of a host. The members of all rooms are registered at all Kamailios: copies leave by that of the imcd that
// has the room, and this says nothing of how hosts share registrations.
func Run(ctx context.Context, lab contest.Options, spec contest.Spec, o Options, out rig.Output) (res *Result,
	err error) {
	b := &bench{o: o, fleet: make(map[int]*fleet)}
	defer func() { err = errors.Join(err, b.stop()) }()
	lab.Rooms = map[int]int{o.Members: o.Rooms}
	for i := range o.Hosts {
		lab.First = 1 + i*o.Rooms*o.Members
		l, err := contest.NewLab(lab)
		if err != nil {
			return nil, err
		}
		b.labs = append(b.labs, l)
	}
	res = &Result{Kind: "hosts", Contestant: spec.Name, Options: o}
	for _, n := range []int{1, o.Hosts} {
		fmt.Fprintf(out.Progress, "%s, start of %d hosts\n", spec.Name, n)
		if b.fleet[n], err = b.start(ctx, spec, n); err != nil {
			return nil, fmt.Errorf("%d hosts: %w", n, err)
		}
	}
	for round := range o.Rounds {
		for _, n := range order(round, o.Hosts) {
			fmt.Fprintf(out.Progress, "%s, round %d, %d hosts\n", spec.Name, round+1, n)
			got, err := b.measure(ctx, b.fleet[n])
			if err != nil {
				return nil, fmt.Errorf("%d hosts: %w", n, err)
			}
			if n == 1 {
				res.One = append(res.One, got)
			} else {
				res.Several = append(res.Several, got)
			}
		}
	}
	return res, out.Keep(res)
}

// order is the numbers of hosts of a round, in turns: 1 n, n 1, 1 n.
func order(round, n int) []int {
	if round%2 == 1 {
		return []int{n, 1}
	}
	return []int{1, n}
}

func (b *bench) stop() error {
	var errs []error
	for _, f := range b.fleet {
		errs = append(errs, f.stop())
	}
	for _, l := range b.labs {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// start starts n hosts with the rooms of all senders.
func (b *bench) start(ctx context.Context, spec contest.Spec, n int) (f *fleet, err error) {
	f = &fleet{}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.stop())
		}
	}()
	sql := ""
	for _, l := range b.labs {
		sql += l.Fill()
	}
	if f.db, err = contest.NewDatabase(ctx, sql); err != nil {
		return nil, err
	}
	ports, err := evapitest.FreePorts(n)
	if err != nil {
		return nil, err
	}
	for i := range n {
		s, err := b.labs[i].StartAt(ctx, spec, contest.Place{DB: f.db, Port: ports[i], Spare: i > 0,
			Local: stack.Peers(ports)})
		if err != nil {
			return nil, err
		}
		f.systems = append(f.systems, s)
	}
	for _, s := range f.systems {
		for _, l := range b.labs {
			if err := l.RegisterAll(ctx, s.Addr()); err != nil {
				return nil, err
			}
		}
	}
	return f, f.shared(ctx)
}

// measure lets all senders write to f.
func (b *bench) measure(ctx context.Context, f *fleet) (got Round, err error) {
	before, err := f.cpu()
	if err != nil {
		return got, err
	}
	results := make([]*load.Result, len(b.labs))
	errs := make([]error, len(b.labs))
	var sending sync.WaitGroup
	for i, l := range b.labs {
		sending.Go(func() {
			results[i], errs[i] = l.Load.Send(ctx, load.Plan{Addr: f.systems[i%len(f.systems)].Addr(),
				Rooms: l.Rooms(b.o.Members, b.o.Rooms), Body: rig.Body, For: b.o.For, Window: ahead, Quiet: quiet})
		})
	}
	sending.Wait()
	if err := errors.Join(errs...); err != nil {
		return got, err
	}
	for _, r := range results {
		got.Deliveries += r.Deliveries
		got.Lost += r.Lost
		got.Refused += r.Sent - r.Accepted
		got.Took = max(got.Took, r.Elapsed)
	}
	if err := stack.Pause(ctx, b.o.Rest); err != nil {
		return got, err
	}
	if got.CPU, err = f.cpu(); err != nil {
		return got, err
	}
	for part := range got.CPU {
		got.CPU[part] -= before[part]
	}
	return got, nil
}

// fleet is several hosts with one PostgreSQL.
type fleet struct {
	db      *contest.Database
	systems []*contest.System
}

func (f *fleet) stop() error {
	if f == nil {
		return nil
	}
	var errs []error
	for _, s := range slices.Backward(f.systems) {
		errs = append(errs, s.Stop())
	}
	return errors.Join(append(errs, f.db.Stop())...)
}

// shared waits until each imcd has its part of the rooms.
func (f *fleet) shared(ctx context.Context) error {
	for {
		var fleet struct {
			Engines []struct{ Owns []struct{ Shard int } }
		}
		if err := f.systems[0].Stack().Call(ctx, "imc.fleet", []any{}, &fleet); err != nil {
			return fmt.Errorf("who has the rooms: %w", err)
		}
		least, all := -1, 0
		for _, e := range fleet.Engines {
			if all += len(e.Owns); least < 0 || len(e.Owns) < least {
				least = len(e.Owns)
			}
		}
		if n := len(f.systems); len(fleet.Engines) == n && least == all/n {
			return nil
		}
		if err := stack.Pause(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("the rooms are not shared evenly: %w", err)
		}
	}
}

// cpu is the CPU time that Kamailios, imcd and PostgreSQL have used.
func (f *fleet) cpu() (map[string]time.Duration, error) {
	sum := make(map[string]time.Duration)
	for i, s := range f.systems {
		parts, err := s.CPUByPart()
		if err != nil {
			return nil, err
		}
		for part, d := range parts {
			if part != "postgres" || i == 0 { // all have the same one
				sum[part] += d
			}
		}
	}
	return sum, nil
}
