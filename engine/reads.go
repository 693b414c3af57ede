package engine

import (
	"sync"
	"time"

	"imcd/engine/store"
)

const (
	// maxReads bounds all open reads; above it, 503.
	maxReads = 64
	// operatorReads bounds those of operators. A user may have one.
	operatorReads = 8
	// readTimeout is the deadline of a read from its request on.
	readTimeout = 5 * time.Second
)

// operators is the key of their reads: no user has it.
const operators = ""

// reads reads stored messages that a user asks to see: #history, #seen, the history for a new member, and
// an operator's. It has its own queue and goroutine, so that no member waits behind it for messages.
type reads struct {
	*loader

	mu    sync.Mutex
	open  map[string]*reader // guarded by mu: by user key; without readers that have none open
	total int                // guarded by mu: of all readers
}

// reader is a user with an open read, or the operators.
type reader struct {
	open    int
	refused bool // another read of the user was refused with a notice
}

func newReads(l *loader) *reads { return &reads{loader: l, open: make(map[string]*reader)} }

// begin takes a place for a read of a user, by key, until end; or it says why there is none. Only the
// first refusal beside an open read has a notice.
func (r *reads) begin(key string) *refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	most := 1
	if key == operators {
		most = operatorReads
	}
	who := r.open[key]
	switch {
	case who != nil && who.open >= most:
		why := &refusal{code: 503, detail: rcUnavailable, reason: "Your last question is not answered yet",
			late: true}
		if !who.refused {
			who.refused, why.notice = true, "reading"
		}
		return why
	case r.total >= maxReads:
		return refuseOverloaded()
	case who == nil:
		who = &reader{}
		r.open[key] = who
	}
	who.open++
	r.total++
	return nil
}

// end gives back the place of a read.
func (r *reads) end(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	who := r.open[key]
	r.total--
	if who.open--; who.open == 0 {
		delete(r.open, key)
	}
}

// put queues the read for which key has a place. Its deadline may be earlier than that of others (readTimeout).
func (r *reads) put(key string, q query) {
	answer := q.answer
	if q.until.IsZero() {
		q.until = time.Now().Add(readTimeout)
	}
	q.answer = func(rows []store.MessageRow, err error) {
		r.end(key)
		answer(rows, err)
	}
	r.loader.put(q)
}
