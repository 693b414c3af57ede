// Package joins lets many people join one room, one by one, as fast as they are
// answered: do the last ones wait longer than the first ones, and how many copies does
// a join make?
package joins

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"imcd/cmd/imcdbench/internal/contest"
	"imcd/cmd/imcdbench/internal/load"
)

// Options of Run.
type Options struct {
	People int           // that join; at least 2 × Part
	Part   int           // how many answers are compared, of the first ones and the last ones
	Quiet  time.Duration // so long after the last notice none follows
}

// Result is what was seen.
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

// Run has people join the room of a contestant, an imcd. The lab must have a room of one
// member.
func Run(ctx context.Context, lab *contest.Lab, spec contest.Spec, o Options, raw, progress io.Writer) (res *Result,
	err error) {
	s, err := lab.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	if err := lab.Load.Register(ctx, s.Addr(), lab.Newcomer(0), o.People); err != nil {
		return nil, err
	}
	room := s.Rooms(roomSize, 1)[0]
	// The first request of all finds nothing warm: it is the owner's, and no join.
	if code, err := lab.Load.Say(ctx, s.Addr(), room.Sender, room.Name, "#list"); err != nil || code != 200 {
		return nil, fmt.Errorf("list was answered %d: %w", code, err)
	}
	if err := s.Stack().Idle(ctx); err != nil {
		return nil, err
	}
	fmt.Fprintf(progress, "%s, %d people join\n", spec.Name, o.People)
	res = &Result{Kind: "joins", Contestant: spec.Name, Options: o}
	before, begin := lab.Load.Sink.Strays(), time.Now()
	res.Answers, err = lab.Load.Ask(ctx, load.Asks{Addr: s.Addr(), Window: 1, Most: o.People,
		Next: func(i int) (from, name, text string) { return load.Member(lab.Newcomer(i)), room.Name, "#join" }})
	if err != nil {
		return nil, err
	}
	res.Lasted = time.Since(begin)
	if err := quiet(ctx, lab, o.Quiet); err != nil {
		return nil, err
	}
	res.Copies = lab.Load.Sink.Strays() - before
	if err := json.NewEncoder(raw).Encode(res); err != nil {
		return nil, fmt.Errorf("write the raw results: %w", err)
	}
	return res, s.Stack().Idle(ctx)
}

// quiet waits until no notice has come for so long: some are put together and wait for
// others.
func quiet(ctx context.Context, lab *contest.Lab, d time.Duration) error {
	tick := time.NewTicker(d / 20)
	defer tick.Stop()
	seen, since := lab.Load.Sink.Strays(), time.Now()
	for time.Since(since) < d {
		select {
		case <-tick.C:
			if now := lab.Load.Sink.Strays(); now != seen {
				seen, since = now, time.Now()
			}
		case <-ctx.Done():
			return fmt.Errorf("notices go on and on: %w", ctx.Err())
		}
	}
	return nil
}

// The bars: the last answers' p99 over the first ones', and copies over those that there
// are if each join is told to each member at once.
const (
	mostOver   = 3
	mostCopies = 1.0 / 60
)

// Report prints what was seen, and whether it is below the bars.
func (res *Result) Report(w io.Writer) (passed bool) {
	n, part := res.Options.People, res.Options.Part
	first, last := p99(res.Answers.Times[:part]), p99(res.Answers.Times[n-part:])
	over := float64(last) / float64(max(first, 1))
	each := float64(res.Copies) / float64(n)
	all := float64(n+1)/2 + 1 // the owner, and half of those who join, on average, and one answer
	fmt.Fprintf(w, "\njoins: %s, %d people join a room one by one, %.0f a second\n", res.Contestant, n,
		float64(n)/max(res.Lasted.Seconds(), 1e-9))
	passed = true
	for _, c := range []struct {
		ok   bool
		text string
	}{
		{over < mostOver, fmt.Sprintf("answer p99 of the first %d %v, of the last %d %v: %.2f times (bar: %d)", part,
			first.Round(time.Microsecond), part, last.Round(time.Microsecond), over, mostOver)},
		{each <= all*mostCopies, fmt.Sprintf("copies per join %.1f, of %.0f if each is told to all: %.4f (bar: %.4f)", each,
			all, each/all, mostCopies)},
		{res.Answers.Codes[200] == n, fmt.Sprintf("answered 200: %d of %d", res.Answers.Codes[200], n)},
	} {
		word := "passed"
		if !c.ok {
			word, passed = "MISSED", false
		}
		fmt.Fprintf(w, "%s  %s\n", word, c.text)
	}
	return passed
}

// p99 leaves times as they are.
func p99(times []time.Duration) time.Duration {
	t := make(load.Times, len(times))
	for i, d := range times {
		t[i] = int64(d)
	}
	t.Sort()
	return t.At(0.99)
}
