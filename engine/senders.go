package engine

import (
	"sync"
	"time"

	"imcd/engine/store"
)

const (
	// maxSenders bounds the senders that are counted. Further ones are not limited: a client whose From
	// nobody checks has many names, and must not lock out others with them.
	maxSenders = 1 << 17
	// senderParts divides them, so that shards seldom wait for each other.
	senderParts = 16
	// sweepEvery is how often a full part removes idle senders.
	sweepEvery = time.Second
)

// senderMeters count the requests of one user to all rooms.
type senderMeters struct{ messages, commands, questions, keys meter }

func (m *senderMeters) idle(now time.Time) bool {
	return !m.messages.empty.After(now) && !m.commands.empty.After(now) && !m.questions.empty.After(now) &&
		!m.keys.empty.After(now)
}

// senders counts by sender. Shards share it, as a sender writes to rooms of many shards.
type senders struct {
	most  int // in each part
	parts [senderParts]senderPart
}

type senderPart struct {
	mu    sync.Mutex
	byKey map[string]*senderMeters // guarded by mu
	swept time.Time                // guarded by mu: when idle senders were last removed
	after int                      // guarded by mu: with how many that happens again
}

func newSenders(most int) *senders {
	s := &senders{most: max(1, most/senderParts)}
	for i := range s.parts {
		s.parts[i].byKey = make(map[string]*senderMeters)
	}
	return s
}

// with calls f with the meters of a sender, which nobody else uses meanwhile. It does nothing if there
// are too many senders.
func (s *senders) with(key string, now time.Time, f func(*senderMeters)) {
	p := &s.parts[store.Hash(key)%senderParts]
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.byKey[key]
	if m == nil {
		if !p.makeSpace(s.most, now) {
			return
		}
		m = new(senderMeters)
		p.byKey[key] = m
	}
	f(m)
}

// makeSpace removes idle senders if needed, and reports whether there may be one more.
func (p *senderPart) makeSpace(most int, now time.Time) bool {
	full := len(p.byKey) >= most
	if len(p.byKey) >= max(p.after, 64) || full && now.Sub(p.swept) >= sweepEvery {
		for key, m := range p.byKey {
			if m.idle(now) {
				delete(p.byKey, key)
			}
		}
		// The next time is when there are twice as many.
		p.swept, p.after = now, min(2*len(p.byKey), most+1)
	}
	return len(p.byKey) < most
}
