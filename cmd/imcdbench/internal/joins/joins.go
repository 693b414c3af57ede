// Package joins lets many people join one room, one by one, as fast as they are
// answered: do the last ones wait longer than the first ones, and how many copies does
// a join make?
package joins

import (
	"context"
	"fmt"
	"io"
	"time"

	"imcd/cmd/imcdbench/internal/contest"
	"imcd/cmd/imcdbench/internal/load"
	"imcd/cmd/imcdbench/internal/rig"
)

// Options of Run.
type Options struct {
	People int           // that join; at least 2 × Part
	Part   int           // how many answers are compared, of the first ones and the last ones
	Quiet  time.Duration // so long after the last notice none follows
}

// Result is the result of a Run.
type Result struct {
	Kind       string        `json:"kind"` // joins
	Contestant string        `json:"contestant"`
	Options    Options       `json:"options"`
	Answers    *load.Answers `json:"answers"`
	Lasted     time.Duration `json:"lasted_ns"` // until the last one was answered
	Copies     int64         `json:"copies"`    // all that came to phones, answers and repetitions included
}

// roomSize is how many members the room has before, beside its owner.
const roomSize = 1

// Run has people join a room. The rig must have a room of one member.
func Run(ctx context.Context, r *rig.Rig, o Options) (res *Result, err error) {
	traffic := r.Load()
	if err := traffic.Register(ctx, r.Addr(), r.Newcomer(0), o.People); err != nil {
		return nil, err
	}
	room := r.Rooms(roomSize, 1)[0]
	// The first request of all finds no cache warm: it is the owner's, and no join.
	if code, err := traffic.Say(ctx, r.Addr(), room.Sender, room.Name, "#list"); err != nil || code != 200 {
		return nil, fmt.Errorf("list was answered %d: %w", code, err)
	}
	if err := r.Idle(ctx); err != nil {
		return nil, err
	}
	r.Progress("%d people join", o.People)
	res = &Result{Kind: "joins", Contestant: r.Spec.Name, Options: o}
	before, begin := traffic.Sink.Strays(), time.Now()
	res.Answers, err = traffic.Ask(ctx, load.Asks{Addr: r.Addr(), Window: 1, Most: o.People,
		Next: func(i int) (from, name, text string) { return load.Member(r.Newcomer(i)), room.Name, "#join" }})
	if err != nil {
		return nil, err
	}
	res.Lasted = time.Since(begin)
	if err := quiet(ctx, traffic.Sink, o.Quiet); err != nil {
		return nil, err
	}
	res.Copies = traffic.Sink.Strays() - before
	if err := r.Keep(res); err != nil {
		return nil, err
	}
	return res, r.Idle(ctx)
}

// quiet waits until no notice has come for so long: some are put together and wait for
// others.
func quiet(ctx context.Context, sink *load.Sink, d time.Duration) error {
	tick := time.NewTicker(d / 20)
	defer tick.Stop()
	seen, since := sink.Strays(), time.Now()
	for time.Since(since) < d {
		select {
		case <-tick.C:
			if now := sink.Strays(); now != seen {
				seen, since = now, time.Now()
			}
		case <-ctx.Done():
			return fmt.Errorf("notices go on and on: %w", ctx.Err())
		}
	}
	return nil
}

// The bars: the last answers' p99 over the first ones', and copies over the number of copies that it takes to tell each
// member of each join at once.
const (
	mostOver   = 3
	mostCopies = 1.0 / 60
)

// Report prints the result, and whether it is below the bars.
func (res *Result) Report(w io.Writer) (passed bool) {
	n, part := res.Options.People, res.Options.Part
	first, last := load.TimesOf(res.Answers.Times[:part]).At(0.99), load.TimesOf(res.Answers.Times[n-part:]).At(0.99)
	over := float64(last) / float64(max(first, 1))
	each := float64(res.Copies) / float64(n)
	all := float64(n+1)/2 + 1 // the owner, and half of those who join, on average, and one answer
	fmt.Fprintf(w, "\njoins: %s, %d people join a room one by one, %.0f a second\n", res.Contestant, n,
		float64(n)/max(res.Lasted.Seconds(), 1e-9))
	passed = contest.Verdict(w, over < mostOver,
		"answer p99 of the first %d %v, of the last %d %v: %.2f times (bar: %d)",
		part, first.Round(time.Microsecond), part, last.Round(time.Microsecond), over, mostOver)
	passed = contest.Verdict(w, each <= all*mostCopies,
		"copies per join %.1f, of %.0f if each is sent to all: %.4f (bar: %.4f)",
		each, all, each/all, mostCopies) && passed
	return contest.Verdict(w, res.Answers.Codes[200] == n, "answered 200: %d of %d", res.Answers.Codes[200], n) &&
		passed
}
