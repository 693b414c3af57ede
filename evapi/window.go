package evapi

import (
	"sync"
	"time"
)

// window is a number of frames that are written at once. It is immutable once it is the
// current one; only the reader changes failed.
type window struct {
	ping    uint64
	at      time.Time // when it was written
	firstID uint32    // id of the first frame with copies; the others follow
	copies  []copyKey // in it
	ends    []int     // of each frame's copies in copies
	batched []bool    // whether a frame is a batch
	failed  map[copyKey]bool
}

func (w *window) add(f *windowFrame) {
	for i := range f.entries {
		w.copies = append(w.copies, f.entries[i].key())
	}
	w.ends = append(w.ends, len(w.copies))
	w.batched = append(w.batched, f.batched)
}

// frame returns the copies in the frame with an id; ok is false if there is no such
// frame.
func (w *window) frame(id uint64) (copies []copyKey, ok bool) {
	if id < uint64(w.firstID) || id-uint64(w.firstID) >= uint64(len(w.ends)) {
		return nil, false
	}
	i := int(id - uint64(w.firstID))
	from := 0
	if i > 0 {
		from = w.ends[i-1]
	}
	return w.copies[from:w.ends[i]], true
}

// batchLost is the time after which a batch without a report that it is done counts as
// lost: longer than Kamailio's workers need for all open ones, unless they wait for name
// servers. Its copies have timers of their own.
const batchLost = 30 * time.Second

// batches are the batches that Kamailio has not carried out yet.
type batches struct {
	mu   sync.Mutex           // guards open
	open map[uint32]time.Time // by id: when it was written
}

// begin notes the batches of w; the writer calls it.
func (b *batches) begin(w *window) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, yes := range w.batched {
		if !yes {
			continue
		}
		if b.open == nil {
			b.open = make(map[uint32]time.Time)
		}
		b.open[w.firstID+uint32(i)] = w.at
	}
}

// end notes that one is done; the reader calls it.
func (b *batches) end(id uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, id)
}

// count returns the number of open batches. It forgets those that were written before a
// time, and returns the number of these as lost.
func (b *batches) count(before time.Time) (open, lost int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, at := range b.open {
		if at.Before(before) {
			delete(b.open, id)
			lost++
		}
	}
	return len(b.open), lost
}
