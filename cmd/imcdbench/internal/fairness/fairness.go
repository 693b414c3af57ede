// Package fairness measures what other rooms do to a small one: rooms in which there is
// always something to send, rooms whose phones are silent, members that ask for much.
//
// The small room gets messages at a steady pace, whether those before are answered or
// not: if it had to wait for them, one that takes ten seconds would be one of thousands.
package fairness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"imcd/cmd/imcdbench/internal/load"
	"imcd/cmd/imcdbench/internal/rig"
)

// Options of Run.
type Options struct {
	Small, Big int           // members of the two rooms
	Silent     int           // every n-th member of the big room never answers; 0: all answer
	Rooms      int           // how many rooms of one silent member there are
	Every      time.Duration // between two messages to the small room
	For        time.Duration // how long each case takes
	Rounds     int           // how often each case is measured; the cases alternate
	Cases      []string      // only cases whose name has one of these in it; "": all
}

// Sizes are the rooms that the rig must have, by size.
func (o Options) Sizes() map[int]int {
	sizes := map[int]int{o.Small: 1, o.Big: 1}
	sizes[1] += o.Rooms
	return sizes
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

// quiet is how long no copy may come before deliveries count as lost.
const quiet = 40 * time.Second

// bench is one imcd that is measured.
type bench struct {
	*rig.Rig
	o Options
}

// Run measures the times of the small room. The rig must have the rooms of o.Sizes.
func Run(ctx context.Context, r *rig.Rig, o Options) (res *Result, err error) {
	b := &bench{Rig: r, o: o}
	res = &Result{Kind: "fairness", Contestant: r.Spec.Name, Options: o, Alone: &Figures{Case: "alone"}}
	chosen := slices.DeleteFunc(cases(o), func(c situation) bool {
		return !slices.ContainsFunc(o.Cases, func(word string) bool { return strings.Contains(c.name, word) })
	})
	for _, c := range chosen {
		res.Cases = append(res.Cases, Figures{Case: c.name, barred: c.barred})
	}
	for round := range o.Rounds {
		r.Progress("round %d, alone", round+1)
		if err := b.measure(ctx, situation{}, res.Alone); err != nil {
			return nil, err
		}
		for i, c := range chosen {
			r.Progress("round %d, %s", round+1, c.name)
			if err := b.measure(ctx, c, &res.Cases[i]); err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	return res, r.Keep(res)
}

// measure adds one round of one case.
func (b *bench) measure(ctx context.Context, c situation, f *Figures) error {
	if c.before != nil {
		if err := c.before(ctx, b); err != nil {
			return err
		}
	}
	if err := b.Calm(ctx); err != nil {
		return err
	}
	plan := load.Plan{Rooms: b.Rooms(b.o.Small, 1), Window: 2, For: b.o.For, Quiet: quiet, Watch: true,
		Paces: []load.Pace{{Every: b.o.Every}}}
	var phones load.Phones
	if c.others != nil {
		c.others(b, &plan, &phones)
	}
	b.Load().Sink.Set(phones)
	before, err := b.Drops()
	if err != nil {
		return err
	}
	stop := b.ask(ctx, c.asks)
	got, err := b.Send(ctx, plan)
	asked, askErr := stop()
	after, dropsErr := b.Drops()
	if err := errors.Join(err, askErr, dropsErr); err != nil {
		return err
	}
	f.Dropped += after - before
	f.add(b.o.Small, got, asked)
	return b.recover(ctx)
}

// ask sends commands as fast as they are answered, until stop is called. Without asks it sends none.
func (b *bench) ask(ctx context.Context, asks func(b *bench) load.Asks) (stop func() (*load.Answers, error)) {
	got, err := &load.Answers{}, error(nil)
	ctx, cancel := context.WithCancel(ctx)
	var over sync.WaitGroup
	if asks != nil {
		over.Go(func() { got, err = b.Load().Ask(ctx, asks(b)) })
	}
	return func() (*load.Answers, error) {
		cancel()
		over.Wait()
		return got, err
	}
}

// recover lets all phones answer and waits until everything that they missed is
// delivered, so that the next case begins as the first one did.
func (b *bench) recover(ctx context.Context) error {
	b.Load().Sink.Set(load.Phones{})
	ctx, cancel := context.WithTimeout(ctx, 2*quiet)
	defer cancel()
	if err := b.RegisterAll(ctx); err != nil {
		return err
	}
	return b.Idle(ctx)
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
