package engine

// evict takes the oldest entry out of the log of r.
func (d *delivery) evict(r *room) {
	size := r.log.pop()
	d.engine.charge(-size)
	if r.flying > 0 {
		d.evicted = append(d.evicted, evicted{d.now, size})
		d.evictedBytes += size
	}
}

// countCopies updates what copies under way count in held.copies.
func (d *delivery) countCopies() {
	for len(d.evicted) > 0 && d.now.Sub(d.evicted[0].at) >= d.engine.cfg.ResultTimeout {
		d.evictedBytes -= d.evicted[0].size
		d.evicted = d.evicted[1:]
	}
	bytes := len(d.flights)*copyBytes + d.evictedBytes
	if bytes != d.copyBytes {
		d.engine.held.copies.Add(int64(bytes - d.copyBytes))
		d.copyBytes = bytes
	}
}
