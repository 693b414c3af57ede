package engine

import (
	"strconv"

	"imcd/engine/store"
	"imcd/evapi"
)

// idOf names a copy of a note. A kept one has the same name each time it is sent, also after a restart,
// so that nobody reads it twice.
func (d *delivery) idOf(n *note) string {
	if n.stored != 0 {
		return d.prefix + "k" + strconv.FormatInt(n.stored, 36)
	}
	return d.noteID()
}

// settles reports whether a note that would be given up is sent once more: its user has just registered, and was
// not found.
func (d *delivery) settles(st *stream, n *note, r evapi.Result) bool {
	return judge(r) == offline && n.tries < maxTries && d.engine.arrivals.has(st.key, d.now)
}

// noteDone takes the outcome of a note and goes on to the next one.
func (d *delivery) noteDone(f *sentCopy, r evapi.Result) {
	st := f.stream
	st.inFlight = nil
	n := &st.notes[0]
	n.tries++
	if (judge(r) == resend || f.back && n.mustKeep(r)) && n.tries < maxTries {
		d.hasNote = append(d.hasNote, st)
		return
	}
	done := *n
	st.notes[0] = note{}
	st.notes = st.notes[1:]
	d.engine.charge(-done.size)
	settles := d.settles(st, &done, r)
	switch {
	case settles:
		d.keep(st, done, d.now.Add(settleRetry))
	case done.mustKeep(r):
		kept := done
		kept.adder = store.Name{} // the adder is informed once
		d.keep(st, kept, d.now.Add(d.engine.cfg.OfflineRetry))
	default:
		d.unstore(done)
		if done.invite != nil {
			d.owner.invitationDone(done.room, done.invite, r)
		}
	}
	if len(st.notes) > 0 {
		d.hasNote = append(d.hasNote, st)
	}
	if judge(r) == arrived {
		d.release(st) // its user is there
	}
	d.forgetStream(st)
	if done.greets != nil && !settles {
		d.owner.greeted(done, r)
	}
}
