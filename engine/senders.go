package engine

import (
	"sync"
	"time"
)

const (
	// maxSenders bounds how many senders are counted at a time. Those above are
	// let through: a client whose From nobody checks has as many names as it
	// likes, and must not lock others out with them.
	maxSenders = 1 << 17
	// senderParts divides them, so that shards seldom wait for each other.
	senderParts = 16
	// sweepEvery is how often a full part looks for room again.
	sweepEvery = time.Second
)

// senderMeters are what one user has sent to all rooms.
type senderMeters struct{ messages, commands meter }

func (m *senderMeters) idle(now time.Time) bool {
	return !m.messages.empty.After(now) && !m.commands.empty.After(now)
}

// senders counts by sender. A sender talks to rooms of many shards, so it is the
// one thing beside the ledger that shards share.
type senders struct {
	most  int // in each part
	parts [senderParts]senderPart
}

type senderPart struct {
	mu    sync.Mutex
	byKey map[string]*senderMeters // guarded by mu
	swept time.Time                // guarded by mu: when the idle ones were last thrown out
	after int                      // guarded by mu: how many there must be before that happens again
}

func newSenders(most int) *senders {
	s := &senders{most: max(1, most/senderParts)}
	for i := range s.parts {
		s.parts[i].byKey = make(map[string]*senderMeters)
	}
	return s
}

// with calls f with the meters of a sender, which nobody else uses meanwhile. It
// does not if there are too many senders.
func (s *senders) with(key string, now time.Time, f func(*senderMeters)) {
	p := &s.parts[Hash(key)%senderParts]
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.byKey[key]
	if m == nil {
		if !p.room(s.most, now) {
			return
		}
		m = new(senderMeters)
		p.byKey[key] = m
	}
	f(m)
}

// room makes room for one more; false: there is none.
func (p *senderPart) room(most int, now time.Time) bool {
	full := len(p.byKey) >= most
	if len(p.byKey) >= max(p.after, 64) || full && now.Sub(p.swept) >= sweepEvery {
		for key, m := range p.byKey {
			if m.idle(now) {
				delete(p.byKey, key)
			}
		}
		// Not for each new one: only when there are twice as many again.
		p.swept, p.after = now, min(2*len(p.byKey), most+1)
	}
	return len(p.byKey) < most
}

// count is how many senders are known.
func (s *senders) count() int {
	n := 0
	for i := range s.parts {
		p := &s.parts[i]
		p.mu.Lock()
		n += len(p.byKey)
		p.mu.Unlock()
	}
	return n
}
