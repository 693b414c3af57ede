package engine

import (
	"time"

	"imcd/evapi"
)

// A message that was accepted and never reaches a member is a loss: it is counted,
// logged, shown with the member, and the member is told where the message would have
// been. A member whose phone refuses that as well is told nothing more until something
// has arrived.

// word says why a copy is none of what was said.
type word uint8

const (
	noWord     word = iota
	wordLoss        // it tells of messages that were skipped
	wordPoison      // the same of the next message, which is skipped if this arrives
)

// Why messages are skipped; also the label of the metric.
const (
	lossRefused    = "refused"     // its content, by the phone
	lossUnsendable = "unsendable"  // it cannot be sent to this member
	lossPoison     = "no answer"   // to it, again and again, from somebody who is there
	lossOperator   = "by operator" // who skipped it
)

// lossReasons are all of them; never changed.
var lossReasons = []string{lossRefused, lossUnsendable, lossPoison, lossOperator}

// losses is what a member has lost since imcd was started.
type losses struct {
	n    uint64
	seq  uint64    // of the last one
	why  string    // of the last one
	code int       // the response to it; 0: none
	at   time.Time // when it was skipped
}

func lossReason(v verdict) string {
	if v == unsendable {
		return lossUnsendable
	}
	return lossRefused
}

// lose notes that the message of f was skipped, which is to be told.
func (s *shard) lose(f *flight, why string, code int) {
	if f.missed > 0 {
		return // that was a notice of others, which are counted
	}
	s.noteLoss(f.room, f.member, f.seq, why, code)
	f.member.tellLoss()
}

// tellLoss makes the next copy for m tell of one more loss.
func (m *member) tellLoss() {
	if !m.deaf && m.unshown < 255 {
		m.unshown++
	}
}

// noteLoss counts and logs a loss.
func (s *shard) noteLoss(r *room, m *member, seq uint64, why string, code int) {
	s.gaveUp(r, m, seq-1, seq)
	s.engine.metrics.lost.WithLabelValues(why).Inc()
	if r.losses == nil {
		r.losses = make(map[string]losses)
	}
	r.losses[m.key] = losses{n: r.losses[m.key].n + 1, seq: seq, why: why, code: code, at: s.now}
	s.engine.log.Warn().Str("room", r.key).Str("member", m.key).Uint64("seq", seq).Int("code", code).Str("reason", why).
		Msg("a message was skipped: its member never gets it")
}

// wordOf is what tells m of n losses.
func (s *shard) wordOf(r *room, m *member, n uint8) (*evapi.Outgoing, error) {
	return s.engine.composeCount(r, m, "not_shown", uint64(n))
}

// isPoison reports whether the message with a number is not to be tried again before it
// is known whether m answers anything else. silent are tries that are not in w yet.
func (s *shard) isPoison(w *wait, seq uint64, silent int) bool {
	most := s.engine.cfg.PoisonTries
	if w != nil && w.seq == seq {
		silent += w.silent
		most <<= min(w.words, maxWords)
	}
	return most > 0 && seq > 0 && silent >= most
}

// maxWords bounds how rare the tries with a word become. Each one that is not answered
// either tells that it is not the message, so twice as many tries of that come before
// the next.
const maxWords = 10

// wordDone draws the consequences of the outcome of a word.
func (s *shard) wordDone(f *flight, v verdict, res evapi.Result) {
	m := f.member
	if !v.final() && v != malformed {
		s.postpone(f, v, res.RetryAfter)
		if f.word == wordPoison {
			m.wait.silent = 0
			m.wait.words++
		}
		return
	}
	m.wait, m.deaf = nil, v > known
	switch {
	case f.word == wordPoison:
		s.passOne(f)
		s.noteLoss(f.room, m, f.seq, lossPoison, 408)
	case m.deaf:
		m.unshown = 0
	default:
		m.unshown -= f.losses
	}
}
