package engine

import "time"

// evicted is a message that has left its room's log, which was too long, while copies of it
// were under way: these hold it until they have an outcome.
type evicted struct {
	at   time.Time
	size int
}

// evict takes the oldest entry out of the log of r.
func (s *shard) evict(r *room) {
	size := r.log.pop()
	s.engine.charge(-size)
	if r.flying > 0 {
		s.evicted = append(s.evicted, evicted{s.now, size})
		s.evictedBytes += size
	}
}

// countCopies tells what this shard's copies under way take.
func (s *shard) countCopies() {
	for len(s.evicted) > 0 && s.now.Sub(s.evicted[0].at) >= s.engine.cfg.ResultTimeout {
		s.evictedBytes -= s.evicted[0].size
		s.evicted = s.evicted[1:]
	}
	bytes := len(s.flights)*copyBytes + s.evictedBytes
	if bytes != s.copyBytes {
		s.engine.held.copies.Add(int64(bytes - s.copyBytes))
		s.copyBytes = bytes
	}
}
