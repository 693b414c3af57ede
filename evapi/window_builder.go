package evapi

import "strings"

// windowBuilder collects the frames of one window, in their order. It is reused from one
// window to the next. Only the writer uses it, through outbox.take.
type windowBuilder struct {
	frames   []windowFrame
	capacity int // bytes left
	batches  int // more that may be begun
	single   int // more copies with Copy.First that may go alone
}

// windowFrame is one frame: a payload, a copy, or a batch of copies of one Outgoing.
type windowFrame struct {
	entries []entry
	batched bool
}

// reset empties b. At most batches batches may be put in.
func (b *windowBuilder) reset(batches int) {
	for i := range b.frames {
		clear(b.frames[i].entries)
		b.frames[i].entries = b.frames[i].entries[:0]
	}
	b.frames = b.frames[:0]
	b.capacity = WindowBytes - pingSize
	b.batches = batches
	b.single = maxSingle
}

// add takes e in. False: it does not fit; nothing has changed then. A frame that is
// larger than a window goes alone.
func (b *windowBuilder) add(e *entry, p *peer) bool {
	if e.out == nil || e.dest != "" || e.device != "" || strings.Contains(e.to, gruuParam) || p.lane == LaneRPC ||
		e.out.inBatch() == nil {
		return b.put(e, e.size, false)
	}
	if e.first && !p.direct && b.single > 0 && b.put(e, e.size, false) { // else Kamailio would not look for the devices
		b.single--
		return true
	}
	more := recipientSize(len(e.to), len(e.callID))
	for i := range b.frames {
		f := &b.frames[i]
		if f.batched && f.entries[0].out == e.out && len(f.entries) < batchCopies && more <= b.capacity {
			f.entries = append(f.entries, *e)
			b.capacity -= more
			return true
		}
	}
	if b.batches == 0 || !b.put(e, batchSize(len(e.out.inBatch()), p)+more, true) {
		return false
	}
	b.batches--
	return true
}

// put begins a frame of size bytes.
func (b *windowBuilder) put(e *entry, size int, batched bool) bool {
	if size > b.capacity && len(b.frames) > 0 {
		return false
	}
	if len(b.frames) < cap(b.frames) {
		b.frames = b.frames[:len(b.frames)+1] // with the entries of an earlier window, to be used again
	} else {
		b.frames = append(b.frames, windowFrame{})
	}
	f := &b.frames[len(b.frames)-1]
	f.entries, f.batched = append(f.entries[:0], *e), batched
	b.capacity -= size
	return true
}
