// Package overload gives imcd twice what it can deliver, for a while, and looks
// at what becomes of it: who is refused, whether everything that was accepted
// arrives, how much memory it takes, and how Kamailio serves others meanwhile.
package overload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"imcd/cmd/imcdbench/internal/contest"
	"imcd/cmd/imcdbench/internal/load"
	"imcd/cmd/imcdbench/internal/proc"
)

// Options of Run.
type Options struct {
	Cell   contest.Cell
	For    time.Duration // of the overload
	Find   time.Duration // of the search for what can be sustained
	Factor float64       // of that
}

// Result is what was seen.
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
	RSSMost     int64             `json:"imcd_rss_most"`
	RSSHalf     int64             `json:"imcd_rss_half"` // the most in the first half
}

// probeEvery is how often somebody registers.
const probeEvery = 20 * time.Millisecond

// quiet is how long nothing may come before deliveries count as lost: a copy that
// was put off is tried again within that time.
const quiet = 40 * time.Second

// Run finds out what a contestant, an imcd, can sustain, and sends more.
func Run(ctx context.Context, lab *contest.Lab, spec contest.Spec, o Options, raw, progress io.Writer) (res *Result, err error) {
	s, err := lab.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	res = &Result{Kind: "overload", Contestant: spec.Name, Cell: o.Cell}
	rooms := s.Rooms(o.Cell.Members, o.Cell.Rooms)
	lab.Load.Sink.Set(lab.Phones(o.Cell))
	plan := load.Plan{Addr: s.Addr(), Rooms: rooms, Body: o.Cell.Body, Window: 5, For: o.Find, Quiet: quiet}
	found, err := lab.Load.Send(ctx, plan)
	if err != nil {
		return nil, err
	}
	if err := s.Stack().Idle(ctx); err != nil {
		return nil, err
	}
	res.Sustainable = found.Steady() / float64(o.Cell.Members)
	res.Rate = res.Sustainable * o.Factor
	fmt.Fprintf(progress, "%s delivers %.0f messages/s to %v; now %.0f messages/s for %v\n",
		spec.Name, res.Sustainable, o.Cell, res.Rate, o.For)
	watched, pid := rooms[0].Base, s.Stack().ImcdPid()
	if res.Before, err = probeFor(ctx, lab, s.Addr(), watched, o.Find); err != nil {
		return nil, err
	}
	if res.RSSBefore, err = proc.RSS(pid); err != nil {
		return nil, err
	}
	plan.Rate, plan.For = res.Rate, o.For
	if err := res.overload(ctx, lab, plan, watched, pid); err != nil {
		return nil, err
	}
	if err := json.NewEncoder(raw).Encode(res); err != nil {
		return nil, fmt.Errorf("write the raw results: %w", err)
	}
	return res, nil
}

func probeFor(ctx context.Context, lab *contest.Lab, addr string, member int, d time.Duration) (*load.ProbeResult, error) {
	p, err := lab.Load.StartProbe(addr, member, probeEvery)
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		err = ctx.Err()
	}
	res, stopErr := p.Stop()
	return res, errors.Join(err, stopErr)
}

func (res *Result) overload(ctx context.Context, lab *contest.Lab, plan load.Plan, watched, pid int) error {
	m := startMeter(pid, plan.For/2)
	p, err := lab.Load.StartProbe(plan.Addr, watched, probeEvery)
	if err != nil {
		return errors.Join(err, m.stop())
	}
	var sendErr, probeErr error
	res.Load, sendErr = lab.Load.Send(ctx, plan)
	res.During, probeErr = p.Stop()
	err = errors.Join(sendErr, probeErr, m.stop())
	res.RSSMost, res.RSSHalf = m.most, m.half
	return err
}

// meter watches the memory of a process.
type meter struct {
	pid  int
	mid  time.Time
	done chan struct{}
	wg   sync.WaitGroup

	// The goroutine's until stop has waited for it.
	most, half int64
	err        error
}

func startMeter(pid int, half time.Duration) *meter {
	m := &meter{pid: pid, mid: time.Now().Add(half), done: make(chan struct{})}
	m.wg.Go(m.loop)
	return m
}

func (m *meter) loop() {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		n, err := proc.RSS(m.pid)
		if err != nil {
			m.err = fmt.Errorf("memory of imcd: %w", err)
			return
		}
		m.most = max(m.most, n)
		if time.Now().Before(m.mid) {
			m.half = max(m.half, n)
		}
		select {
		case <-tick.C:
		case <-m.done:
			return
		}
	}
}

func (m *meter) stop() error {
	close(m.done)
	m.wg.Wait()
	return m.err
}

// Report prints what was seen and whether it is as it should be.
func (res *Result) Report(w io.Writer) bool {
	l := res.Load
	shed := l.Codes[503]
	fmt.Fprintf(w, "\noverload: %s, %v\n", res.Contestant, res.Cell)
	fmt.Fprintf(w, "sustainable %.0f messages/s; sent %.0f/s for %v: %d messages, %d accepted, answers by code %v (0: none)\n",
		res.Sustainable, res.Rate, l.Sending.Round(time.Second), l.Sent, l.Accepted, l.Codes)
	fmt.Fprintf(w, "delivered %d in %v (%.0f/s), lost %d, twice %d, sent again by the sender %d\n",
		l.Deliveries, l.Elapsed.Round(time.Second), l.PerSecond(), l.Lost, l.Duplicates, l.Resent)
	fmt.Fprintf(w, "answer p50 %v, p99 %v; last member p50 %v, max %v\n", l.Answers.At(0.5), l.Answers.At(0.99),
		l.Complete.At(0.5), l.Complete.At(1))
	fmt.Fprintf(w, "imcd's memory: %d MB before, at most %d MB in the first half, %d MB in all\n",
		res.RSSBefore>>20, res.RSSHalf>>20, res.RSSMost>>20)
	fmt.Fprintf(w, "REGISTER p50/p99/max: %v/%v/%v before, %v/%v/%v meanwhile, answers %v\n",
		res.Before.Times.At(0.5), res.Before.Times.At(0.99), res.Before.Times.At(1),
		res.During.Times.At(0.5), res.During.Times.At(0.99), res.During.Times.At(1), res.During.Codes)
	passed := true
	for _, c := range []struct {
		ok   bool
		text string
	}{
		{shed == l.RetryAfter, fmt.Sprintf("503s with Retry-After: %d of %d", l.RetryAfter, shed)},
		{l.Lost == 0, fmt.Sprintf("deliveries of accepted messages that did not arrive: %d", l.Lost)},
		{l.Codes[0] == 0, fmt.Sprintf("messages without any answer: %d", l.Codes[0])},
		{res.During.Codes[200] == len(res.During.Times) && res.During.Codes[0] == 0,
			fmt.Sprintf("REGISTERs answered 200: %d of %d", res.During.Codes[200], len(res.During.Times)+res.During.Codes[0])},
	} {
		word := "passed"
		if !c.ok {
			word, passed = "MISSED", false
		}
		fmt.Fprintf(w, "%s  %s\n", word, c.text)
	}
	return passed
}
