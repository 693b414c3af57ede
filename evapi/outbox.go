package evapi

import (
	"sync"
	"time"
)

// maxAnswers bounds the answers to operators in an outbox: they can be large.
const maxAnswers = 64

// entry is what waits to be written: a copy, or the payload of a reply or answer.
type entry struct {
	out    *Outgoing // nil: payload is set
	to     string
	callID string
	dest   string // see Copy
	first  bool   // see Copy

	payload []byte
	answer  bool // payload is an imc.answer

	size int // of the netstring, at most
}

// outbox holds what waits to be written to one Kamailio, in three queues, each
// of which goes ahead of the next. It is open while there is an authenticated
// connection. Any goroutine may put; the writer takes.
type outbox struct {
	limit int           // entries per queue
	short int           // copies that Send may have waiting, per queue
	wake  chan struct{} // capacity 1; written by put, read by the writer

	mu      sync.Mutex // guards what follows; nothing blocks while it is held
	peer    *peer      // nil: closed
	replies ring       // replies and answers to operators
	first   ring       // copies with First
	rest    ring       // the other copies
	answers int        // entries of replies that are answers
	taken   int        // entries taken and not yet confirmed
	told    int        // of these, replies
	wanted  bool       // a queue was full of copies
}

func newOutbox(limit, short int) *outbox {
	return &outbox{limit: limit, short: short, wake: make(chan struct{}, 1)}
}

// open lets entries in, for p.
func (b *outbox) open(p *peer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.peer = p
}

// close refuses new entries and returns the Call-IDs of all copies that waited.
func (b *outbox) close() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.peer = nil
	b.answers, b.taken, b.told = 0, 0, 0
	b.replies = ring{}
	return drain(&b.first, &b.rest)
}

// drain empties queues of copies and returns the Call-IDs.
func drain(queues ...*ring) (callIDs []string) {
	for _, q := range queues {
		for q.n > 0 {
			callIDs = append(callIDs, q.pop().callID)
		}
		*q = ring{}
	}
	return callIDs
}

// putCopy queues a checked copy; again: it was sent once before, and need not wait
// until few others do.
func (b *outbox) putCopy(c Copy, again bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.peer == nil {
		return ErrDown
	}
	n := c.Out.size(len(c.To), len(c.CallID), b.peer) + destRoom(c.Dest)
	if n > maxPayload {
		return ErrTooLarge
	}
	q := &b.rest
	if c.First {
		q = &b.first
	}
	if q.n >= b.short && !again && c.Dest == "" {
		b.wanted = true
		return ErrFull
	}
	return b.push(q, entry{out: c.Out, to: c.To, callID: c.CallID, dest: c.Dest, first: c.First,
		size: n + netstringOverhead})
}

// putPayload queues the payload of a reply or answer.
func (b *outbox) putPayload(payload []byte, answer bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.peer == nil {
		return ErrDown
	}
	if answer && b.answers >= maxAnswers {
		return ErrFull
	}
	if err := b.push(&b.replies, entry{payload: payload, answer: answer, size: len(payload) + netstringOverhead}); err != nil {
		return err
	}
	if answer {
		b.answers++
	}
	return nil
}

// push is called with mu held.
func (b *outbox) push(q *ring, e entry) error {
	if q.n >= b.limit {
		return ErrFull
	}
	q.push(e)
	b.ring()
	return nil
}

// ring wakes the writer.
func (b *outbox) ring() {
	select {
	case b.wake <- struct{}{}:
	default: // it has not looked since the last time
	}
}

// take fills c with what fits one window, one entry at least if there is any. It
// takes nothing from a queue before those ahead of it are empty, and copies only as
// far as m allows. held tells that copies wait that may not go now; short, that it is
// because of m.
func (b *outbox) take(c *cargo, m *memory, now time.Time) (held, short bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken, b.told = 0, 0
	for b.peer != nil {
		q := &b.replies
		if q.n == 0 {
			if q = &b.first; q.n == 0 {
				q = &b.rest
			}
			if short = q.n > 0 && !m.may(&m.frames, now); short {
				break
			}
		}
		if q.n == 0 || !c.add(q.peek(), b.peer) {
			break
		}
		if q == &b.replies {
			b.told++
		} else {
			m.took(&m.frames, b.peer.takes())
		}
		if q.pop().answer {
			b.answers--
		}
		b.taken++
	}
	return b.replies.n == 0 && b.first.n+b.rest.n > 0 && (short || c.batches == 0), short
}

// drained reports, once, that a queue that was full of copies is half empty.
func (b *outbox) drained() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.wanted || b.first.n > b.short/2 || b.rest.n > b.short/2 {
		return false
	}
	b.wanted = false
	return true
}

// confirm forgets what was taken.
func (b *outbox) confirm() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken, b.told = 0, 0
}

// replying reports whether Kamailio has not confirmed all replies.
func (b *outbox) replying() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.replies.n+b.told > 0
}

// pending counts entries that wait or are not confirmed.
func (b *outbox) pending() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.replies.n + b.first.n + b.rest.n + b.taken
}

func (b *outbox) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.peer != nil
}

// ring is a queue that grows as needed and shrinks when it has been empty.
type ring struct {
	buf  []entry // length is 0 or a power of two
	head int
	n    int
}

const (
	ringMin  = 16
	ringKeep = 4096 // entries whose memory an empty ring keeps
)

func (r *ring) push(e entry) {
	if r.n == len(r.buf) {
		bigger := make([]entry, max(ringMin, 2*len(r.buf)))
		k := copy(bigger, r.buf[r.head:])
		copy(bigger[k:], r.buf[:r.head])
		r.buf, r.head = bigger, 0
	}
	r.buf[(r.head+r.n)&(len(r.buf)-1)] = e
	r.n++
}

func (r *ring) peek() *entry { return &r.buf[r.head] }

func (r *ring) pop() entry {
	e := r.buf[r.head]
	r.buf[r.head] = entry{} // lets go of the Outgoing
	r.head = (r.head + 1) & (len(r.buf) - 1)
	r.n--
	if r.n == 0 && len(r.buf) > ringKeep {
		*r = ring{}
	}
	return e
}
