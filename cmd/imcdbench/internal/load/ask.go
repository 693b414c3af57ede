package load

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Say sends one text to a room, a command for example, and returns the code of
// the answer.
func (l *Load) Say(ctx context.Context, addr, from, room, text string) (code int, err error) {
	c, err := dial(addr)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	m := mark{run: l.runs.next()}
	packet := c.writer.text(nil, from, room, m, []byte(text))
	tick := time.NewTicker(t1)
	defer tick.Stop()
	for {
		if err := c.send(packet); err != nil {
			return 0, fmt.Errorf("send %q: %w", text, err)
		}
		select {
		case r := <-c.replies:
			if r.mark == m {
				return r.code, nil
			}
		case <-tick.C:
		case <-ctx.Done():
			return 0, fmt.Errorf("no answer to %q: %w", text, ctx.Err())
		}
	}
}

// Probe registers a member again and again, to see how long that takes.
type Probe struct {
	client *Client
	load   *Load
	member int
	every  time.Duration
	stop   chan struct{}
	wg     sync.WaitGroup

	// The fields below are the goroutine's; read after Stop has waited for it.
	run     uint32
	pending map[uint32]*probe
	result  ProbeResult
}

type probe struct {
	first, again time.Time
	interval     time.Duration
	packet       []byte
}

// ProbeResult tells how REGISTERs fared.
type ProbeResult struct {
	Times Times       `json:"times_ns"` // until the final answer, from the first time it was sent
	Codes map[int]int `json:"codes"`    // 0: no answer
}

// StartProbe begins to register a member every so often. The caller must call
// Stop.
func (l *Load) StartProbe(addr string, member int, every time.Duration) (*Probe, error) {
	c, err := dial(addr)
	if err != nil {
		return nil, err
	}
	p := &Probe{client: c, load: l, member: member, every: every, stop: make(chan struct{}), run: l.runs.next(),
		pending: make(map[uint32]*probe), result: ProbeResult{Codes: make(map[int]int)}}
	p.wg.Go(p.loop)
	return p, nil
}

// Stop waits for the answers that are owed, as long as SIP does, and returns what
// was seen.
func (p *Probe) Stop() (*ProbeResult, error) {
	close(p.stop)
	p.wg.Wait()
	p.result.Codes[0] += len(p.pending)
	if p.result.Codes[0] == 0 {
		delete(p.result.Codes, 0)
	}
	slices.Sort(p.result.Times)
	return &p.result, p.client.close()
}

func (p *Probe) loop() {
	due, timers := time.NewTicker(p.every), time.NewTicker(tickers)
	defer due.Stop()
	defer timers.Stop()
	stop := p.stop
	end := time.Time{}
	for stop != nil || len(p.pending) > 0 {
		select {
		case <-due.C:
			if stop != nil {
				p.send()
			}
		case r := <-p.client.replies:
			p.take(r)
		case now := <-timers.C:
			p.resend(now)
			if stop == nil && now.After(end) {
				return
			}
		case <-stop:
			stop, end = nil, time.Now().Add(giveUp)
		}
	}
}

func (p *Probe) send() {
	m := mark{p.run, uint32(len(p.result.Times) + len(p.pending))}
	now := time.Now()
	q := &probe{first: now, again: now.Add(t1), interval: t1,
		packet: p.client.writer.register(nil, p.member, p.load.Sink.Ports()[0], m)}
	p.pending[m.message] = q
	_ = p.client.send(q.packet) // it is sent again
}

func (p *Probe) take(r timedReply) {
	q := p.pending[r.mark.message]
	if q == nil || r.mark.run != p.run {
		return
	}
	delete(p.pending, r.mark.message)
	p.result.Codes[r.code]++
	p.result.Times.add(r.at.Sub(q.first))
}

func (p *Probe) resend(now time.Time) {
	for _, q := range p.pending {
		if now.After(q.again) {
			q.interval = min(2*q.interval, t2)
			q.again = now.Add(q.interval)
			_ = p.client.send(q.packet) // it is sent again
		}
	}
}
