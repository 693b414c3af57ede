package engine

// An accepted message that never reaches a member is a loss. It is counted, logged and shown with the
// member, and the member gets a notice in its place. If the phone refuses that notice as well, there are
// no more notices until something has arrived.

// Why messages are skipped; also the label of the metric.
const (
	lossRefused    = "refused"     // the phone refused the content
	lossUnsendable = "unsendable"  // the copy cannot be made or sent
	lossPoison     = "no answer"   // the phone registers, and never answers this message
	lossOperator   = "by operator" // an operator skipped it
)

// lossReasons lists all of them. Never changed.
var lossReasons = []string{lossRefused, lossUnsendable, lossPoison, lossOperator}

// noteLoss counts and logs a loss.
func (d *delivery) noteLoss(r *room, m *member, seq uint64, why string, code int) {
	d.gaveUp(r, m, seq-1, seq)
	d.engine.metrics.lost.WithLabelValues(why).Inc()
	if r.losses == nil {
		r.losses = make(map[string]losses)
	}
	r.losses[m.key] = losses{n: r.losses[m.key].n + 1, seq: seq, why: why, code: code, at: d.now}
	d.engine.log.Warn().Str("room", r.key).Str("member", m.key).Uint64("seq", seq).Int("code", code).Str("reason", why).
		Msg("a message was skipped: its member never gets it")
}

// isPoison reports whether the message of a number is not tried again until m has answered something
// else. silent is the number of unanswered tries that w does not count yet.
func (d *delivery) isPoison(w *wait, seq uint64, silent int) bool {
	most := d.engine.cfg.PoisonTries
	if w != nil && w.seq == seq {
		silent += w.silent
		most <<= min(w.poisonNotices, maxPoisonNotices)
	}
	return most > 0 && seq > 0 && silent >= most
}
