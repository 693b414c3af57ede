package evapi

import "sync"

// window is a number of frames written at once. It is immutable once it is
// current, but for failed, which is the reader's.
type window struct {
	ping    uint64
	firstID uint32   // id of the first frame with copies; the others follow
	callIDs []string // of the copies in it
	ends    []int    // of each frame's copies in callIDs
	batched []bool   // whether a frame is a batch
	failed  map[string]bool
}

func (w *window) add(l *load) {
	for i := range l.entries {
		w.callIDs = append(w.callIDs, l.entries[i].callID)
	}
	w.ends = append(w.ends, len(w.callIDs))
	w.batched = append(w.batched, l.batched)
}

// frame returns the Call-IDs of the frame with an id; ok is false if there is no
// such frame.
func (w *window) frame(id uint64) (callIDs []string, ok bool) {
	if id < uint64(w.firstID) || id-uint64(w.firstID) >= uint64(len(w.ends)) {
		return nil, false
	}
	i := int(id - uint64(w.firstID))
	from := 0
	if i > 0 {
		from = w.ends[i-1]
	}
	return w.callIDs[from:w.ends[i]], true
}

// batches are the batches that Kamailio has not carried out yet.
type batches struct {
	mu   sync.Mutex
	open map[uint32]struct{}
}

// begin notes those of w; the writer calls it.
func (b *batches) begin(w *window) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, yes := range w.batched {
		if !yes {
			continue
		}
		if b.open == nil {
			b.open = make(map[uint32]struct{})
		}
		b.open[w.firstID+uint32(i)] = struct{}{}
	}
}

// end notes that one is done; the reader calls it.
func (b *batches) end(id uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, id)
}

func (b *batches) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.open)
}
