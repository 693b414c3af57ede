package engine

import "time"

const (
	// ownPace is how long a copy may be under way before what keeps its member
	// from the next one is the member, and not the load.
	ownPace = time.Second
	// lateLogged is how long a shard is silent after it has told that a room is
	// late.
	lateLogged = 10 * time.Second
)

// lateness is how far behind its messages a room is because more is said in it
// than can be sent. Those that are furthest tell: one who is slow, offline or
// catching up holds up nobody, and says nothing of the others. Owned by the room's
// shard.
type lateness struct {
	front  uint64 // number of the last message that has reached any member
	late   bool   // that one came late
	flying int    // copies to members under way
}

// lateAge is the age of a message on arrival from which on its room takes no
// more. What was accepted meanwhile is still to come: at twice what can be sent,
// it is under way for twice as long.
func (c *Config) lateAge() time.Duration { return c.MaxDelay / 2 }

// arrivedLate notes what the arrival of a message says of its room and member.
func (s *shard) arrivedLate(f *flight) {
	r, m, most := f.room, f.member, s.engine.cfg.lateAge()
	if f.seq == 0 || f.missed > 0 {
		return // a notice
	}
	if f.seq > r.front {
		r.front = f.seq
		r.late = most > 0 && s.clock(s.now)-f.at > most && f.seq > m.excuse && r.front < r.last
	}
}

// overdue reports whether what was said in r comes to its members so late that
// no more is taken.
func (s *shard) overdue(r *room) bool {
	return r != nil && r.late && r.front < r.last && (r.turn || r.flying > 0)
}

// refuseLate is the answer to a message for a room that is overdue.
func (s *shard) refuseLate(r *room) *refusal {
	s.engine.metrics.shed.Inc()
	if s.now.Sub(s.toldLate) >= lateLogged {
		s.toldLate = s.now
		s.engine.log.Warn().Str("room", r.key).Uint64("behind", r.last-r.front).
			Msg("more is said than can be delivered: messages to this room, and maybe others, are refused")
	}
	return refuseOverloaded()
}

// excuse says that whoever has something to get now was not kept waiting by the
// load: the Kamailios were away, or imcd was stopped.
func (s *shard) excuse() {
	for _, r := range s.turns {
		for _, m := range r.ready {
			m.excuse = r.last
		}
	}
}
