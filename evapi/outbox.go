package evapi

import (
	"sync"
	"time"
)

// maxAnswers bounds the answers to operators in an outbox: they can be large.
const maxAnswers = 64

// outbox holds the frames for one Kamailio in three queues, each of which goes ahead of
// the next. It is open while there is an authenticated connection. Any goroutine may put;
// the writer takes.
type outbox struct {
	limit int    // entries per queue
	short int    // copies that Send may queue, per queue
	wake  signal // put wakes the writer

	untabled signal // see Conn.Untabled

	mu      sync.Mutex // guards the fields below; nothing blocks while it is held
	peer    *peer      // nil: closed
	replies queue      // replies and answers to operators
	first   queue      // copies with First
	rest    queue      // the other copies
	answers int        // entries of replies that are answers
	wanted  bool       // a queue was full of copies

	unconfirmed        int // entries taken and not yet confirmed
	unconfirmedReplies int // of these, replies

	put, taken, confirmed uint64     // entries of replies, since open
	barriers              []*barrier // ordered by after

	tabled Tabling // see Conn.Tabled
}

// barrier is somebody who waits until Kamailio has carried out an entry of replies and all
// before it.
type barrier struct {
	after uint64     // the number of that entry
	done  chan error // capacity 1; ErrDown if the connection was lost
}

func newOutbox(limit, short int) *outbox {
	return &outbox{limit: limit, short: short, wake: newSignal(), untabled: newSignal(), tabled: TableIncomplete}
}

// open lets entries in, for p.
func (b *outbox) open(p *peer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.peer = p
	b.untable()
}

// close refuses new entries and returns all queued copies.
func (b *outbox) close() []copyKey {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.peer = nil
	b.answers, b.unconfirmed, b.unconfirmedReplies = 0, 0, 0
	b.replies, b.put, b.taken, b.confirmed = queue{}, 0, 0, 0
	for _, w := range b.barriers {
		w.done <- ErrDown
	}
	b.barriers = nil
	return drain(&b.first, &b.rest)
}

// putCopy queues a checked copy. The limit for new copies does not hold for one that was
// sent before (again, or with a Dest).
func (b *outbox) putCopy(c Copy, again bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.peer == nil {
		return ErrDown
	}
	n := c.Out.size(len(c.To), len(c.CallID), b.peer) + destSize(c.Dest) + deviceSize(c.Device)
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
	return b.push(q, entry{out: c.Out, to: c.To, callID: c.CallID, dest: c.Dest, device: c.Device, first: c.First,
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
	return b.pushPayload(payload, answer)
}

// pushPayload is called with mu held.
func (b *outbox) pushPayload(payload []byte, answer bool) error {
	err := b.push(&b.replies, entry{payload: payload, answer: answer, size: len(payload) + netstringOverhead})
	if err != nil {
		return err
	}
	b.put++
	if answer {
		b.answers++
	}
	return nil
}

// push is called with mu held.
func (b *outbox) push(q *queue, e entry) error {
	if q.n >= b.limit {
		return ErrFull
	}
	q.push(e)
	b.wake.set()
	return nil
}

// take fills w with entries for one window, with at least one if there is any. It empties
// each queue before it looks at the next, and takes copies only as far as m allows. held
// reports that only copies are left, which may not go now; short, that m is the reason.
func (b *outbox) take(w *windowBuilder, m *memory, now time.Time) (held, short bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unconfirmed, b.unconfirmedReplies = 0, 0
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
		if q.n == 0 || !w.add(q.peek(), b.peer) {
			break
		}
		if q == &b.replies {
			b.unconfirmedReplies++
			b.taken++
		} else {
			m.took(&m.frames, b.peer.takes())
		}
		if q.pop().answer {
			b.answers--
		}
		b.unconfirmed++
	}
	return b.replies.n == 0 && b.first.n+b.rest.n > 0 && (short || w.batches == 0), short
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

// confirm notes that Kamailio has carried out all taken entries.
func (b *outbox) confirm() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unconfirmed, b.unconfirmedReplies = 0, 0
	b.confirmed = b.taken
	for len(b.barriers) > 0 && b.barriers[0].after <= b.confirmed {
		b.barriers[0].done <- nil
		b.barriers = b.barriers[1:]
	}
}

// replying reports whether Kamailio has not confirmed all replies.
func (b *outbox) replying() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.replies.n+b.unconfirmedReplies > 0
}

// pending counts the entries that are queued or not confirmed.
func (b *outbox) pending() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.replies.n + b.first.n + b.rest.n + b.unconfirmed
}

func (b *outbox) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.peer != nil
}

// bounds returns how much of Kamailio's shared memory a copy takes, and whether the copy
// goes straight to its device.
func (b *outbox) bounds() (takes int, direct bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.peer == nil {
		return 0, false
	}
	return b.peer.takes(), b.peer.direct
}
