package engine

import "time"

const (
	// ownPace is how long a copy may be under way before the member, and not the load, delays its next
	// one.
	ownPace = time.Second
	// lateLogged is how often a shard logs, at most, that a room is late.
	lateLogged = 10 * time.Second
)

// lateAge is the age on arrival from which on a message is late and its room refuses more. Messages that
// were accepted meanwhile still have to come: at twice the possible load they take twice as long.
func (c *Config) lateAge() time.Duration { return c.MaxDelay / 2 }

// storedLate notes that the database, and not the load, has delayed the message of e: its delivery begins now.
func (d *delivery) storedLate(r *room, e *entry) {
	if most := d.engine.cfg.lateAge(); most > 0 && d.now.Sub(e.at) > most/2 {
		r.exempt = e.seq
	}
}

// arrivedLate notes how late a message has reached its member.
func (d *delivery) arrivedLate(f *sentCopy) {
	r, m, most := f.room, f.member, d.engine.cfg.lateAge()
	if f.seq == 0 || f.missed > 0 {
		return // a notice
	}
	if f.seq > r.front {
		r.front = f.seq
		r.late = most > 0 && d.clock(d.now)-f.at > most && f.seq > max(m.exempt, r.exempt) && r.front < r.last
	}
}

// overdue reports whether messages of r reach its members so late that it must refuse more.
func (d *delivery) overdue(r *room) bool {
	return r != nil && r.late && r.front < r.last && (r.turn || r.inFlight > 0)
}

// exemptReady says that the load has not delayed the members that are ready: the Kamailios were away,
// or imcd was stopped.
func (d *delivery) exemptReady() {
	for _, list := range [][]*room{d.small, d.turns} {
		for _, r := range list {
			for _, m := range r.ready {
				m.exempt = r.last
			}
		}
	}
}
