package engine

import (
	"slices"
	"strconv"
	"time"

	"imcd/evapi"
)

// Copies under way: from the sending of each to its outcome.

// slowAfter is how long a copy may be under way before its member's cursor is
// stored by itself, so that it does not hold down what is known of the others.
const slowAfter = time.Second

// flight is one copy under way to a recipient: a member or a stream. It may be sent
// several times until it has an outcome, see repeat. There may be a hundred thousand: the
// fields are as small, and in such an order, that 128 bytes suffice.
type flight struct {
	id     string
	room   *room // nil for streams
	member *member
	stream *stream
	seq    uint64        // of the message, or the last of those missed; 0 for a notice to all
	entry  uint64        // number of the log entry and one more; 0: not from the log
	missed uint64        // how many were dropped, of which this copy tells; 0: it is something else
	at     time.Duration // when the message was accepted, by shard.clock
	since  time.Duration // when this copy was sent last, likewise
	credit credit

	out    *evapi.Outgoing // what is sent; nil once it is over
	conn   *evapi.Conn     // that took it last, or through which it is to go if that is up
	failed *evapi.Result   // the outcome that counts of tries that have failed; nil: none has

	expiries uint16 // how often it stands in shard.expiry
	slot     uint16 // of the recipient, see recipients
	tries    uint8  // how often it was sent without having an outcome yet
	silent   uint8  // and how often the user has registered after it instead of answering
	word     word   // this copy tells of losses, or takes the place of the message; noWord: it does not
	losses   uint8  // of which it tells
	line     bool   // this copy stands before a message of a page, and has its place
	back     bool   // the user has registered since it was sent first, or sent something
	repeats  bool   // stands in shard.repeats
	early    bool   // its user registered while it was sent just now
	slow     bool   // a request of the user is listened for
	ahead    bool   // was sent behind another copy of its member, see ahead
	named    bool   // counts in recipients.named
	over     bool
}

// copyID names the copy of a message for a member: the same each time it is
// sent, so that a repetition can be recognised. A notice's is new each time.
func (s *shard) copyID(f *flight) string {
	if f.seq == 0 || f.word != noWord {
		return s.noteID()
	}
	var buf [96]byte
	id := strconv.AppendInt(append(buf[:0], s.prefix...), f.room.id, 36)
	id = strconv.AppendUint(append(id, '-'), f.seq, 10)
	id = strconv.AppendUint(append(id, '-'), hash64(f.member.key), 36)
	if f.missed > 0 {
		id = strconv.AppendUint(append(id, "-m"...), f.missed, 10)
	}
	return string(id)
}

func (s *shard) takeOff(f *flight) {
	s.flights[f.id] = f
	s.recipients.add(f)
	s.sent(f)
	if f.room != nil {
		f.room.flying++
	}
}

// sent notes that f was sent, or sent again.
func (s *shard) sent(f *flight) {
	f.since = s.clock(s.now)
	f.tries++
	f.expiries++
	s.expiry = append(s.expiry, f)
	if len(s.fresh) == 0 {
		s.ripeTimer.Reset(time.Duration(s.engine.credits.soon.Load()))
	}
	s.fresh = append(s.fresh, f)
	s.compact()
}

// compact forgets finished flights that stand behind one which has no outcome, once they
// are the most.
func (s *shard) compact() {
	most := 2*len(s.flights) + compactFrom
	if len(s.expiry) > most {
		s.expiry = slices.DeleteFunc(s.expiry, func(f *flight) bool {
			if !f.over && f.expiries == 1 {
				return false
			}
			f.expiries--
			return true
		})
	}
	for _, list := range []*[]*flight{&s.fresh, &s.older} {
		if len(*list) > most {
			*list = slices.DeleteFunc(*list, func(f *flight) bool { return f.over })
		}
	}
}

// compactFrom is how many may stand there in any case.
const compactFrom = 256

// clock is a time as flights have it.
func (s *shard) clock(t time.Time) time.Duration { return t.Sub(s.began) }

// age is how long it is that f was sent last.
func (s *shard) age(f *flight) time.Duration { return s.clock(s.now) - f.since }

// ripen lets others go instead of copies that wait for their devices.
func (s *shard) ripen() {
	soon := time.Duration(s.engine.credits.soon.Load())
	for len(s.fresh) > 0 {
		f, probe := s.fresh[0], false
		if age := s.age(f); !f.over && age < soon {
			s.ripeTimer.Reset(soon - age)
			break
		} else if !f.over && s.stuck(f, age) {
			if wait := stuckAgain - s.now.Sub(s.tried); wait > 0 {
				s.ripeTimer.Reset(wait)
				break
			}
			s.tried, probe = s.now, true
		}
		s.fresh[0] = nil
		s.fresh = s.fresh[1:]
		if !f.over {
			s.engine.credits.older(&f.credit, probe)
			s.older = append(s.older, f)
		}
	}
	for len(s.older) > 0 {
		f := s.older[0]
		if !f.over && s.age(f) < burstTime {
			return
		}
		s.older[0] = nil
		s.older = s.older[1:]
		if f.over {
			continue
		}
		s.engine.credits.old(&f.credit)
		s.listen(f)
		if f.early {
			f.early = false
			s.again(f)
		}
	}
}

// stuckAgain is how often one copy goes instead of one of those that are stuck, to see whether
// they are still.
const stuckAgain = time.Millisecond

// stuck tells whether f, which has no answer though its phone is near, waits for more than
// that phone: nothing that was sent later has an answer.
func (s *shard) stuck(f *flight, age time.Duration) bool {
	return age < burstTime && s.recipients.isNear(f) && s.engine.credits.answered.Load() <= s.at(f)
}

// at is when f was sent last, comparable among shards.
func (s *shard) at(f *flight) int64 { return s.began.UnixNano() + int64(f.since) }

// listen makes a request of the user of f a reason to send it again.
func (s *shard) listen(f *flight) {
	if !f.slow {
		f.slow = true
		s.engine.signs.await(f.to())
	}
}

// result takes the outcome of a copy. One that was sent several times has failed when
// all of these have.
func (s *shard) result(r evapi.Result) {
	f := s.flights[r.CallID]
	switch {
	case f == nil:
		s.engine.metrics.delivery("stray")
	case f.tries > 1 && judge(r) > known:
		f.tries--
		counts := worse(f.failed, r)
		f.failed = &counts
	default:
		s.lastTry(f, r)
	}
}

// lastTry ends a flight by the outcome of its last try, or of one before that counts
// more.
func (s *shard) lastTry(f *flight, r evapi.Result) {
	if f.failed != nil {
		r = worse(f.failed, r)
	}
	s.land(f, r)
}

// lost ends the flights that a Kamailio had taken which was restarted before now.
func (s *shard) lost(c *evapi.Conn, now time.Time) {
	for _, f := range s.flights {
		if f.conn == c && f.since < s.clock(now) {
			s.land(f, evapi.Result{CallID: f.id, Code: 503, Local: true, Reason: "Kamailio was restarted"})
		}
	}
}

// expire gives up copies that got no outcome, as after a restart of Kamailio.
func (s *shard) expire() {
	for len(s.expiry) > 0 {
		f := s.expiry[0]
		open := !f.over && f.expiries == 1 // else it was sent again, and stands further behind
		if open && s.age(f) < s.engine.cfg.ResultTimeout {
			return
		}
		f.expiries--
		s.expiry[0] = nil
		s.expiry = s.expiry[1:]
		if open {
			s.lastTry(f, evapi.Result{CallID: f.id, Code: 408, Reason: "no outcome"})
		}
	}
}

// abandon forgets a flight: whatever its outcome is, nobody waits for it any more.
func (s *shard) abandon(f *flight) {
	f.over = true
	if s.flights[f.id] == f {
		delete(s.flights, f.id)
		s.leftRecipient(f)
		if f.room != nil {
			f.room.flying--
		}
	}
	f.out = nil
	if f.slow {
		s.engine.signs.forget(f.to())
	}
	s.engine.credits.give(f.credit)
	if f.member != nil && f.member.flight == f {
		f.member.flight = nil
	}
}

// land ends a flight.
func (s *shard) land(f *flight, r evapi.Result) {
	mine := f.member != nil && f.member.flight == f
	s.recipients.answered(f, s.age(f))
	s.engine.credits.reached(s.at(f))
	s.abandon(f)
	s.engine.metrics.delivery(outcome(r))
	s.logDelivery(f, r)
	if f.stream != nil {
		s.noteDone(f, r)
		return
	}
	m := f.member
	if !mine {
		s.aheadLanded(f, r)
		return
	}
	if !m.live {
		if v := judge(r); v.final() && f.word == noWord { // its leaving may not be committed
			m.cursor = max(m.cursor, f.seq)
			s.engine.metrics.dropped.Add(float64(f.missed))
			if v > known && f.seq > 0 && f.missed == 0 {
				m.tellLoss()
			}
		}
		return
	}
	m.last = newLastResult(r.Code, s.now)
	s.settle(f, r)
	s.advance(f.room, m, r)
	s.setReady(f.room, m)
}
