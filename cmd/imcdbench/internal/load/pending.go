package load

import "time"

// pending are requests of a client that wait for their answers, and are sent again
// until then as SIP does it over UDP.
type pending struct {
	client *Client
	run    uint32
	list   map[uint32]*waiting
}

type waiting struct {
	first, again time.Time
	interval     time.Duration
	packet       []byte
}

func newPending(c *Client, run uint32) *pending {
	return &pending{client: c, run: run, list: make(map[uint32]*waiting)}
}

// send sends a request, which must have that mark.
func (p *pending) send(m mark, packet []byte) {
	now := time.Now()
	p.list[m.message] = &waiting{first: now, again: now.Add(t1), interval: t1, packet: packet}
	_ = p.client.send(packet) // it is sent again
}

// take takes a response, and returns which request it answers and how long that took.
func (p *pending) take(r timedReply) (number uint32, took time.Duration, ok bool) {
	w := p.list[r.mark.message]
	if w == nil || r.mark.run != p.run {
		return 0, 0, false
	}
	delete(p.list, r.mark.message)
	return r.mark.message, r.at.Sub(w.first), true
}

// resend sends the due requests again.
func (p *pending) resend(now time.Time) {
	for _, w := range p.list {
		if now.After(w.again) {
			w.interval = min(2*w.interval, t2)
			w.again = now.Add(w.interval)
			_ = p.client.send(w.packet) // it is sent again
		}
	}
}
