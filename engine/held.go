package engine

import (
	"sync/atomic"

	"imcd/engine/store"
	"imcd/evapi"
)

// held is what the engine holds of what people say, in bytes, against one bound
// (total_log_bytes). What it holds of rooms, members and users is not in it: that grows with
// them, and not with what is said. All shards change it.
type held struct {
	limit int64

	requests atomic.Int64 // requests without an answer
	waiting  atomic.Int64 // messages and notices that were accepted, until all have them or they have left the log
	pages    atomic.Int64 // what was read from the database: for members that lag, and to be shown
	kept     atomic.Int64 // notices for users that cannot be reached
	copies   atomic.Int64 // copies under way, and messages that have left the log before these arrived
}

// What is held beside the text of messages, about.
const (
	// overhead is for a message or notice that waits: its place in a log or a queue.
	overhead = 300
	// requestBytes is for a request, as the parser has it.
	requestBytes = 2048
	// rowBytes is for a message that was read from the database.
	rowBytes = 1024
	// copyBytes is for a copy under way, here and in package evapi.
	copyBytes = 512
)

func (h *held) total() int64 {
	return h.requests.Load() + h.waiting.Load() + h.pages.Load() + h.kept.Load() + h.copies.Load()
}

// full reports whether no more is accepted.
func (h *held) full() bool { return h.total() > h.limit }

// crowded reports whether not even requests are let in to be looked at. The eighth above
// the limit is for them: one that repeats another gets that one's answer, full or not.
func (h *held) crowded() bool { return h.total() > h.limit+h.limit/8 }

// mayRead reports whether more may be read from the database. That has half of the limit, so
// that who comes back does not keep others from speaking; one read is always possible.
func (h *held) mayRead() bool {
	pages := h.pages.Load()
	return pages == 0 || pages < h.limit/2 && !h.full()
}

// mayKeep reports whether one more notice may wait for its user in memory. They may wait
// for days, so they have a quarter of the limit.
func (h *held) mayKeep() bool { return h.kept.Load() < h.limit/4 }

// sizeOf is what a message or notice is charged with while it waits.
func (e *Engine) sizeOf(out *evapi.Outgoing) int {
	size := out.Size() + overhead
	if e.cfg.KeepOrigins {
		size += out.BodyLen()
	}
	return size
}

// rowsSize is what messages take that were read from the database: themselves, and what is
// made of them.
func rowsSize(rows []store.MessageRow) int64 {
	n := 0
	for i := range rows {
		n += rowBytes + 3*len(rows[i].Body)
	}
	return int64(n)
}

// charge accounts for messages and notices that wait.
func (e *Engine) charge(n int) { e.held.waiting.Add(int64(n)) }

// opened accounts for a request, until answered.
func (e *Engine) opened(req *request) {
	e.requests.Add(1)
	e.held.requests.Add(int64(req.size))
}

// closed says that a request has its answer.
func (e *Engine) closed(req *request) {
	e.requests.Add(-1)
	e.held.requests.Add(-int64(req.size))
}
