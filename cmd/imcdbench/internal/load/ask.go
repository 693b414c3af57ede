package load

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Asks are texts that are sent one after the other, commands for example.
type Asks struct {
	Addr string
	Next func(i int) (from, room, text string) // the i-th, from 0
	// Window is how many may wait for their answer at a time: the next one is sent
	// as soon as one of them has it.
	Window int
	Most   int // how many there are; 0: until the context is done
}

// Answers are the outcome of Asks.
type Answers struct {
	Times []time.Duration `json:"times_ns"` // until each was answered, in the order of sending; 0: it was not
	Codes map[int]int     `json:"codes"`    // how many answers have each code
}

// answered is how many were.
func (a *Answers) answered() (n int) {
	for _, count := range a.Codes {
		n += count
	}
	return n
}

// Ask sends texts until all are answered or ctx is done, which is an error only if Most
// is not 0. The answers that there are by then are returned in any case.
func (l *Load) Ask(ctx context.Context, asks Asks) (got *Answers, err error) {
	got = &Answers{Codes: make(map[int]int)}
	c, err := dial(asks.Addr)
	if err != nil {
		return got, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	p := newPending(c, l.runs.next())
	tick := time.NewTicker(tickers)
	defer tick.Stop()
	for asks.Most == 0 || got.answered() < asks.Most {
		for len(p.list) < asks.Window && (asks.Most == 0 || len(got.Times) < asks.Most) {
			from, room, text := asks.Next(len(got.Times))
			m := mark{p.run, uint32(len(got.Times))}
			got.Times = append(got.Times, 0)
			p.send(m, c.writer.text(nil, from, room, m, []byte(text)))
		}
		select {
		case r := <-c.replies:
			if i, took, ok := p.take(r); ok {
				got.Times[i] = took
				got.Codes[r.code]++
			}
		case now := <-tick.C:
			p.resend(now)
		case <-ctx.Done():
			if asks.Most == 0 {
				return got, nil
			}
			return got, fmt.Errorf("%d of %d texts were answered: %w", got.answered(), asks.Most, ctx.Err())
		}
	}
	return got, nil
}

// Say sends one text to a room, a command for example, and returns the code of
// the answer.
func (l *Load) Say(ctx context.Context, addr, from, room, text string) (code int, err error) {
	got, err := l.Ask(ctx, Asks{Addr: addr, Window: 1, Most: 1,
		Next: func(int) (string, string, string) { return from, room, text }})
	for code = range got.Codes {
	}
	return code, err
}
