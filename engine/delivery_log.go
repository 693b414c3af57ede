package engine

// What is sent to all members of a room goes through its log.

// appendLog queues e for all followers of r. receipt says which receipts its sender gets; it may be nil.
func (d *delivery) appendLog(r *room, e entry, receipt *openReceipt) {
	if e.seq > 0 {
		r.last, r.author = e.seq, e.skip
		d.markDirty(r)
		d.storedLate(r, &e)
		if receipt != nil {
			d.openReceipt(r, receipt)
		}
	}
	if e.seq > 0 {
		d.missedBy(r, e.skip)
	}
	e.owed = r.followers
	if e.owed == 0 {
		r.log.gone = max(r.log.gone, e.seq)
		d.engine.charge(-e.size)
		return
	}
	r.log.append(e)
	for len(r.log.entries) > d.engine.cfg.LogEntries || r.log.bytes > d.engine.cfg.LogBytes {
		if r.log.entries[0].seq == 0 {
			d.engine.metrics.dropped.Add(float64(r.log.entries[0].owed))
		}
		d.evict(r)
	}
	away := false
	for _, m := range r.order {
		d.setReady(r, m)
		away = away || m.mode == waiting
	}
	if away && e.seq > 0 {
		d.probe(r)
	}
}

// evict takes the oldest entry out of the log of r.
func (d *delivery) evict(r *room) {
	size := r.log.pop()
	d.engine.charge(-size)
	if r.inFlight > 0 {
		d.evicted = append(d.evicted, evicted{d.now, size})
		d.evictedBytes += size
	}
}
