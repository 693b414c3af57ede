package engine

import (
	"sync"
	"time"
)

// A client that answers by itself ("I am away") answers notices, too. So a user gets a notice about a
// refused message once in notice_repeat for each room, and one about the same unknown or incomplete
// command a few times.
const (
	// maxNoticeRepeats is how often a notice about such a command is sent in notice_repeat.
	maxNoticeRepeats = 3
	// maxNoticed bounds the remembered notices. Above it, further ones are not sent.
	maxNoticed   = 1 << 16
	noticedParts = 16
)

// noticed remembers the notices of the last notice_repeat. Shards share it, as unknown rooms are in all
// of them.
type noticed struct {
	within time.Duration // notice_repeat; 0: no limit
	most   int           // in each part
	parts  [noticedParts]noticedPart
}

type noticedPart struct {
	mu    sync.Mutex
	times map[uint64]*noticeTimes // guarded by mu: by hash of user, room, notice, and text of a command
	swept time.Time               // guarded by mu: when old ones were last removed
}

// noticeTimes are the times of a notice, the newest first.
type noticeTimes [maxNoticeRepeats]time.Time

func newNoticed(within time.Duration, most int) *noticed {
	n := &noticed{within: within, most: max(1, most/noticedParts)}
	for i := range n.parts {
		n.parts[i].times = make(map[uint64]*noticeTimes)
	}
	return n
}

// allow reports whether a notice, by its hash, may be sent for the repeats-th time in notice_repeat (1 to
// maxNoticeRepeats), and notes it.
func (n *noticed) allow(what uint64, repeats int, now time.Time) bool {
	if n.within <= 0 {
		return true
	}
	p := &n.parts[what%noticedParts]
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.times[what]
	if t == nil {
		if !p.hasSpace(n, now) {
			return false
		}
		t = new(noticeTimes)
		p.times[what] = t
	}
	if last := t[repeats-1]; !last.IsZero() && now.Sub(last) < n.within {
		return false
	}
	copy(t[1:], t[:])
	t[0] = now
	return true
}

// hasSpace reports whether there may be one more.
func (p *noticedPart) hasSpace(n *noticed, now time.Time) bool {
	if len(p.times) < n.most {
		return true
	}
	if now.Sub(p.swept) < time.Second {
		return false
	}
	p.swept = now
	for what, t := range p.times {
		if now.Sub(t[0]) >= n.within {
			delete(p.times, what)
		}
	}
	return len(p.times) < n.most
}
