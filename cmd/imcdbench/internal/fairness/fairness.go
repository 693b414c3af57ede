// Package fairness measures what other rooms do to a small one: rooms in which there is
// always something to send, rooms whose phones are silent, members that ask for much.
//
// The small room gets messages at a steady pace, whether those before are answered or
// not: if it had to wait for them, one that takes ten seconds would be one of thousands.
package fairness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"imcd/cmd/imcdbench/internal/contest"
	"imcd/cmd/imcdbench/internal/load"
)

// Options of Run.
type Options struct {
	Small, Big int // members; the lab has a room of each size
	// Silent says that each so manieth member of the big room never answers; 0: all
	// answer.
	Silent int
	Rooms  int           // how many rooms of one member, who is silent, there are; the lab has them
	Every  time.Duration // between two messages to the small room
	For    time.Duration // how long each case takes
	Rounds int           // how often each is measured; the rounds alternate
	Cases  []string      // only cases whose name has one of these in it; "": all
}

// Result is what was seen, all rounds together.
type Result struct {
	Kind       string    `json:"kind"` // fairness
	Contestant string    `json:"contestant"`
	Options    Options   `json:"options"`
	Alone      *Figures  `json:"alone"`
	Cases      []Figures `json:"cases"`
}

// Figures are those of the small room in one case.
type Figures struct {
	Case    string        `json:"case"`
	Samples []load.Sample `json:"samples"`
	Lost    int64         `json:"lost"`       // in all rooms
	Refused int           `json:"refused"`    // messages to the small room that were not accepted
	Others  float64       `json:"others"`     // deliveries to other rooms per second
	Asked   int           `json:"asked"`      // commands that were sent and answered 2xx
	Turned  int           `json:"turned_off"` // commands that were answered otherwise
	// Dropped is how many datagrams Kamailio's socket had no space for; Resent how many
	// requests the senders repeated, half a second later or more.
	Dropped int64 `json:"dropped"`
	Resent  int   `json:"resent"`
	barred  bool  // there is a bar for it
}

// quiet is how long nothing may come before deliveries count as lost.
const quiet = 40 * time.Second

// bench is one contestant that is measured.
type bench struct {
	lab *contest.Lab
	s   *contest.System
	o   Options
}

// Run measures the times of the small room of a contestant, an imcd.
func Run(ctx context.Context, lab *contest.Lab, spec contest.Spec, o Options, raw, progress io.Writer) (res *Result,
	err error) {
	s, err := lab.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	b := &bench{lab: lab, s: s, o: o}
	res = &Result{Kind: "fairness", Contestant: spec.Name, Options: o, Alone: &Figures{Case: "alone"}}
	chosen := slices.DeleteFunc(cases(o), func(c situation) bool {
		return !slices.ContainsFunc(o.Cases, func(word string) bool { return strings.Contains(c.name, word) })
	})
	for _, c := range chosen {
		res.Cases = append(res.Cases, Figures{Case: c.name, barred: c.barred})
	}
	for round := range o.Rounds {
		fmt.Fprintf(progress, "%s, round %d, alone\n", spec.Name, round+1)
		if err := b.measure(ctx, situation{}, res.Alone); err != nil {
			return nil, err
		}
		for i, c := range chosen {
			fmt.Fprintf(progress, "%s, round %d, %s\n", spec.Name, round+1, c.name)
			if err := b.measure(ctx, c, &res.Cases[i]); err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	if err := json.NewEncoder(raw).Encode(res); err != nil {
		return nil, fmt.Errorf("write the raw results: %w", err)
	}
	return res, nil
}

// measure adds one round of one case.
func (b *bench) measure(ctx context.Context, c situation, f *Figures) error {
	if c.before != nil {
		if err := c.before(ctx, b); err != nil {
			return err
		}
	}
	plan := load.Plan{Addr: b.s.Addr(), Rooms: b.s.Rooms(b.o.Small, 1), Body: 100, Window: 2, For: b.o.For, Quiet: quiet,
		Watch: true, Paces: []load.Pace{{Every: b.o.Every}}}
	var phones load.Phones
	if c.others != nil {
		c.others(b, &plan, &phones)
	}
	b.lab.Load.Sink.Set(phones)
	before, err := b.s.Drops()
	if err != nil {
		return err
	}
	stop := b.ask(ctx, c.asks)
	got, err := b.lab.Load.Send(ctx, plan)
	asked, askErr := stop()
	after, dropsErr := b.s.Drops()
	if err := errors.Join(err, askErr, dropsErr); err != nil {
		return err
	}
	f.Dropped += after - before
	f.add(b.o.Small, got, asked)
	return b.recover(ctx)
}

// ask sends commands as fast as they are answered, until stop is called. Without asks
// it sends none.
func (b *bench) ask(ctx context.Context, asks func(b *bench) load.Asks) (stop func() (*load.Answers, error)) {
	if asks == nil {
		return func() (*load.Answers, error) { return &load.Answers{}, nil }
	}
	type outcome struct {
		answers *load.Answers
		err     error
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan outcome, 1)
	go func() {
		got, err := b.lab.Load.Ask(ctx, asks(b))
		done <- outcome{got, err}
	}()
	return func() (*load.Answers, error) {
		cancel()
		got := <-done
		return got.answers, got.err
	}
}

// recover lets all phones answer and waits until everything that they missed is
// delivered, so that the next case begins as the first one did.
func (b *bench) recover(ctx context.Context) error {
	b.lab.Load.Sink.Set(load.Phones{})
	ctx, cancel := context.WithTimeout(ctx, 2*quiet)
	defer cancel()
	if err := b.s.RegisterAll(ctx); err != nil {
		return err
	}
	return b.s.Stack().Idle(ctx)
}

func (f *Figures) add(small int, got *load.Result, asked *load.Answers) {
	f.Samples = append(f.Samples, got.Watched...)
	f.Lost += got.Lost
	f.Resent += got.Resent
	for _, s := range got.Watched {
		if s.Answer == 0 {
			f.Refused++
		}
	}
	if got.Elapsed > 0 {
		f.Others = float64(got.Deliveries-int64(small*len(got.Watched))) / got.Elapsed.Seconds()
	}
	for code, n := range asked.Codes {
		if code < 300 {
			f.Asked += n
		} else {
			f.Turned += n
		}
	}
}
