package evapi

// cargo is what one window takes: frames, in their order. It is reused from one
// window to the next. The writer's, but while outbox.take fills it.
type cargo struct {
	frames  []load
	room    int // bytes left
	batches int // more that may be begun
}

// load is one frame: a payload, a copy, or a batch of copies of one Outgoing.
type load struct {
	entries []entry
	batched bool
}

// reset empties c. At most batches batches may be put in.
func (c *cargo) reset(batches int) {
	for i := range c.frames {
		clear(c.frames[i].entries)
		c.frames[i].entries = c.frames[i].entries[:0]
	}
	c.frames = c.frames[:0]
	c.room = WindowBytes - pingRoom
	c.batches = batches
}

// add takes e in. False: there is no room for it; nothing has changed then. A
// frame that is larger than a window goes alone.
func (c *cargo) add(e *entry, p *peer) bool {
	if e.out == nil || e.dest != "" || p.lane == LaneRPC || e.out.inBatch() == nil {
		return c.put(e, e.size, false)
	}
	more := recipientRoom(len(e.to), len(e.callID))
	for i := range c.frames {
		l := &c.frames[i]
		if l.batched && l.entries[0].out == e.out && len(l.entries) < batchCopies && more <= c.room {
			l.entries = append(l.entries, *e)
			c.room -= more
			return true
		}
	}
	if c.batches == 0 || !c.put(e, batchRoom(len(e.out.inBatch()), p)+more, true) {
		return false
	}
	c.batches--
	return true
}

// put begins a frame of size bytes.
func (c *cargo) put(e *entry, size int, batched bool) bool {
	if size > c.room && len(c.frames) > 0 {
		return false
	}
	if len(c.frames) < cap(c.frames) {
		c.frames = c.frames[:len(c.frames)+1] // with the entries of an earlier window, to be used again
	} else {
		c.frames = append(c.frames, load{})
	}
	l := &c.frames[len(c.frames)-1]
	l.entries, l.batched = append(l.entries[:0], *e), batched
	c.room -= size
	return true
}
