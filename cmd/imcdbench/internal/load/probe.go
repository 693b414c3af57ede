package load

import (
	"slices"
	"sync"
	"time"
)

// Probe registers a member again and again, to see how long that takes.
type Probe struct {
	client *Client
	load   *Load
	member int
	every  time.Duration
	stop   chan struct{}
	wg     sync.WaitGroup

	// The fields below are the goroutine's; read after Stop has waited for it.
	pending *pending
	result  ProbeResult
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
	p := &Probe{client: c, load: l, member: member, every: every, stop: make(chan struct{}),
		pending: newPending(c, l.runs.next()), result: ProbeResult{Codes: make(map[int]int)}}
	p.wg.Go(p.loop)
	return p, nil
}

// Stop waits for the answers that are owed, as long as SIP does, and returns what
// was seen.
func (p *Probe) Stop() (*ProbeResult, error) {
	close(p.stop)
	p.wg.Wait()
	if n := len(p.pending.list); n > 0 {
		p.result.Codes[0] = n
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
	for stop != nil || len(p.pending.list) > 0 {
		select {
		case <-due.C:
			if stop != nil {
				m := mark{p.pending.run, uint32(len(p.result.Times) + len(p.pending.list))}
				d := device{p.member, p.load.Sink.Ports()[0], 3600}
				p.pending.send(m, p.client.writer.register(nil, p.member, d, m))
			}
		case r := <-p.client.replies:
			if _, took, ok := p.pending.take(r); ok {
				p.result.Codes[r.code]++
				p.result.Times.add(took)
			}
		case now := <-timers.C:
			p.pending.resend(now)
			if stop == nil && now.After(end) {
				return
			}
		case <-stop:
			stop, end = nil, time.Now().Add(giveUp)
		}
	}
}
