// Package overload gives imcd twice what it can deliver, for a while, and looks
// at what becomes of it: who is refused, whether everything that was accepted
// arrives, how much memory it takes, and how Kamailio serves others meanwhile.
package overload

import (
	"context"
	"fmt"
	"io"
	"time"

	"imcd/cmd/imcdbench/internal/contest"
	"imcd/cmd/imcdbench/internal/load"
	"imcd/cmd/imcdbench/internal/proc"
	"imcd/cmd/imcdbench/internal/rig"
	"imcd/cmd/internal/stack"
)

// Options of Run.
type Options struct {
	Cell   contest.Cell
	For    time.Duration // of the overload
	Find   time.Duration // of the search for what can be sustained
	Factor float64       // of that
}

// Result is the result of a Run.
type Result struct {
	Kind        string            `json:"kind"` // overload
	Contestant  string            `json:"contestant"`
	Cell        contest.Cell      `json:"cell"`
	Sustainable float64           `json:"sustainable_per_second"` // messages
	Rate        float64           `json:"rate_per_second"`        // messages that were sent
	Load        *load.Result      `json:"load"`
	Before      *load.ProbeResult `json:"register_before"`
	During      *load.ProbeResult `json:"register_during"`
	RSSBefore   int64             `json:"imcd_rss_before"`
	RSSMost     int64             `json:"imcd_rss_most"` // during the overload
}

// quiet is how long no copy may come before deliveries count as lost: a deferred copy is tried again within that time.
const quiet = 40 * time.Second

// Run finds out what imcd can sustain, and sends more. The rig must have the rooms of the cell.
func Run(ctx context.Context, r *rig.Rig, o Options) (res *Result, err error) {
	res = &Result{Kind: "overload", Contestant: r.Spec.Name, Cell: o.Cell}
	rooms := r.Rooms(o.Cell.Members, o.Cell.Rooms)
	r.Load().Sink.Set(r.PhonesOf(o.Cell))
	plan := load.Plan{Rooms: rooms, Body: o.Cell.Body, Window: 5, For: o.Find, Quiet: quiet}
	found, err := r.Send(ctx, plan)
	if err != nil {
		return nil, err
	}
	if err := r.Idle(ctx); err != nil {
		return nil, err
	}
	res.Sustainable = found.Steady() / float64(o.Cell.Members)
	res.Rate = res.Sustainable * o.Factor
	r.Progress("%.0f messages/s to %v are delivered; now %.0f messages/s for %v", res.Sustainable, o.Cell, res.Rate,
		o.For)
	user, pid := rooms[0].Base, r.Stack().ImcdPid()
	if res.Before, err = r.Probe(user, func() error { return stack.Pause(ctx, o.Find) }); err != nil {
		return nil, err
	}
	if res.RSSBefore, err = proc.RSS(pid); err != nil {
		return nil, err
	}
	if err := proc.ResetPeak(pid); err != nil {
		return nil, err
	}
	plan.Rate, plan.For = res.Rate, o.For
	res.During, err = r.Probe(user, func() (err error) {
		res.Load, err = r.Send(ctx, plan)
		return err
	})
	if err != nil {
		return nil, err
	}
	if res.RSSMost, err = proc.Peak(pid); err != nil {
		return nil, err
	}
	return res, r.Keep(res)
}

// Report prints the result, and whether it is as it should be.
func (res *Result) Report(w io.Writer) bool {
	l := res.Load
	shed := l.Codes[503]
	fmt.Fprintf(w, "\noverload: %s, %v\n", res.Contestant, res.Cell)
	fmt.Fprintf(w, "sustainable %.0f messages/s; sent %.0f/s for %v: %d messages, %d accepted, "+
		"answers by code %v (0: none)\n",
		res.Sustainable, res.Rate, l.Sending.Round(time.Second), l.Sent, l.Accepted, l.Codes)
	fmt.Fprintf(w, "delivered %d in %v (%.0f/s), lost %d, twice %d, sent again by the sender %d\n",
		l.Deliveries, l.Elapsed.Round(time.Second), l.PerSecond(), l.Lost, l.Duplicates, l.Resent)
	fmt.Fprintf(w, "answer p50 %v, p99 %v; last member p50 %v, max %v\n", l.Answers.At(0.5), l.Answers.At(0.99),
		l.Complete.At(0.5), l.Complete.At(1))
	fmt.Fprintf(w, "imcd's memory: %d MB before, at most %d MB meanwhile\n", res.RSSBefore>>20, res.RSSMost>>20)
	fmt.Fprintf(w, "REGISTER p50/p99/max: %v/%v/%v before, %v/%v/%v meanwhile, answers %v\n",
		res.Before.Times.At(0.5), res.Before.Times.At(0.99), res.Before.Times.At(1),
		res.During.Times.At(0.5), res.During.Times.At(0.99), res.During.Times.At(1), res.During.Codes)
	registers := len(res.During.Times) + res.During.Codes[0]
	passed := contest.Verdict(w, shed == l.RetryAfter, "503s with Retry-After: %d of %d", l.RetryAfter, shed)
	passed = contest.Verdict(w, l.Lost == 0, "deliveries of accepted messages that did not arrive: %d", l.Lost) &&
		passed
	passed = contest.Verdict(w, l.Codes[0] == 0, "messages without any answer: %d", l.Codes[0]) && passed
	return contest.Verdict(w, res.During.Codes[200] == registers, "REGISTERs answered 200: %d of %d",
		res.During.Codes[200], registers) && passed
}
