package engine

import (
	"sync/atomic"

	"imcd/engine/store"
)

// held counts the bytes of what people say that the engine holds, against one bound (total_log_bytes).
// Memory for rooms, members and users is not in it. All shards change it.
type held struct {
	limit int64

	requests atomic.Int64 // requests without an answer
	waiting  atomic.Int64 // messages and notices, until the last recipient has them or they have left the log
	pages    atomic.Int64 // rows from the database: pages for members that lag, and messages to show
	kept     atomic.Int64 // notices for users that cannot be reached
	copies   atomic.Int64 // copies under way, and messages that left the log before these arrived
}

// Bytes beside the text of messages, estimated.
const (
	// overhead is for a waiting message or notice: its place in a log or a queue.
	overhead = 300
	// requestBytes is for a parsed request.
	requestBytes = 2048
	// rowBytes is for a message from the database.
	rowBytes = 1024
	// copyBytes is for a copy under way, here and in package evapi.
	copyBytes = 512
)

func (h *held) total() int64 {
	return h.requests.Load() + h.waiting.Load() + h.pages.Load() + h.kept.Load() + h.copies.Load()
}

// full reports whether new requests are refused.
func (h *held) full() bool { return h.total() > h.limit }

// crowded reports whether requests are not even looked at. The eighth above the limit is for requests
// that repeat another one: they get its answer.
func (h *held) crowded() bool { return h.total() > h.limit+h.limit/8 }

// mayRead reports whether more may be read from the database. Reads have half of the limit; one is always
// possible.
func (h *held) mayRead() bool {
	pages := h.pages.Load()
	return pages == 0 || pages < h.limit/2 && !h.full()
}

// mayKeep reports whether one more notice may be kept in memory. Kept notices have a quarter.
func (h *held) mayKeep() bool { return h.kept.Load() < h.limit/4 }

// rowsSize is the charge for messages from the database and the copies made of them.
func rowsSize(rows []store.MessageRow) int64 {
	n := 0
	for i := range rows {
		n += rowBytes + 3*len(rows[i].Body)
	}
	return int64(n)
}
