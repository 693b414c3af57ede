package engine

import "sync"

// speakersHalf is how many users each half of speakers holds.
const speakersHalf = 1 << 15

// speakers are the users whose clients sent receipts last in this run: these clients understand receipts.
// Shards share it.
type speakers struct {
	half int // how many each map holds

	mu       sync.Mutex
	now, old map[string]struct{} // guarded by mu: keys; old was full before now was begun
}

func newSpeakers(half int) *speakers {
	return &speakers{half: half, now: make(map[string]struct{})}
}

func (s *speakers) add(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, has := s.now[key]; has {
		return
	}
	if len(s.now) >= s.half {
		s.old, s.now = s.now, make(map[string]struct{})
	}
	s.now[key] = struct{}{}
}

func (s *speakers) has(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, now := s.now[key]
	_, old := s.old[key]
	return now || old
}
