package engine

import (
	"sync"
	"time"

	"imcd/engine/store"
)

const (
	// maxReads bounds the reads of everybody that wait or are carried out; above, 503.
	maxReads = 64
	// operatorReads is how many of these operators may have open at a time. A user may
	// have one.
	operatorReads = 8
	// readTimeout is the deadline of a read, from the moment at which it is asked for.
	readTimeout = 5 * time.Second
)

// operators is the key under which their reads are counted: no user has it.
const operators = ""

// reads reads stored messages because somebody asks to see them: #history, #seen, what
// who joins is shown, and an operator. It has a queue and a goroutine of its own, so that
// no member waits behind it for messages, and one place in it for each user.
type reads struct {
	*loader

	mu    sync.Mutex
	open  map[string]*reader // guarded by mu: by user key; who has none is not in it
	total int                // guarded by mu: of all readers
}

// reader is a user with an open read, or the operators.
type reader struct {
	open int
	told bool // it was refused another one, and heard why
}

func newReads(l *loader) *reads { return &reads{loader: l, open: make(map[string]*reader)} }

// begin takes a place for a read of a user, by key, which end gives back; else it says why
// there is none. Only the first that is refused beside an open one gets a notice.
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
		why := &refusal{code: 503, detail: rcUnavailable, reason: "Your last question is not answered yet"}
		if !who.told {
			who.told, why.notice = true, "reading"
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

// put queues the read for which key has a place.
func (r *reads) put(key string, q query) {
	answer := q.answer
	q.until = time.Now().Add(readTimeout)
	q.answer = func(rows []store.MessageRow, err error) {
		r.end(key)
		answer(rows, err)
	}
	r.loader.put(q)
}
