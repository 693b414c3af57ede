package engine

import (
	"strconv"

	"imcd/engine/store"
	"imcd/evapi"
)

// sendNote sends the first note of st. False: it cannot be sent now.
func (d *delivery) sendNote(st *stream) bool {
	n := &st.notes[0]
	f := &sentCopy{id: d.idOf(n), stream: st, out: n.out, credit: weigh(n.out.BodyLen())}
	if !d.engine.credits.takeFirst(d.inbox, f.credit) {
		return false
	}
	seen := d.engine.credits.drained.Load()
	var err error
	f.conn, err = d.engine.relay.Send(n.via, evapi.Copy{Out: n.out, To: st.user.URI(), CallID: f.id, First: true})
	st.inFlight = f
	switch {
	case later(err) && (n.keeps() || d.now.Sub(n.made) < noteAge):
		st.inFlight = nil
		d.notSent(f.credit, seen, err)
		return false
	case err != nil:
		d.engine.log.Warn().Err(err).Str("user", st.key).Msg("notice not sent")
		d.complete(f, evapi.Result{CallID: f.id, Code: 400, Local: true, Reason: err.Error()})
	default:
		d.trackInFlight(f)
	}
	return true
}

// idOf names a copy of a note. A kept one has the same name each time it is sent, also after a restart,
// so that nobody reads it twice.
func (d *delivery) idOf(n *note) string {
	if n.stored != 0 {
		return d.prefix + "k" + strconv.FormatInt(n.stored, 36)
	}
	return d.noteID()
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
	switch {
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
	if done.greets != nil {
		d.owner.greeted(done, r)
	}
}

// forgetStream drops a stream that is empty.
func (d *delivery) forgetStream(st *stream) {
	if len(st.notes) == 0 && len(st.kept) == 0 && d.streams[st.key] == st {
		delete(d.streams, st.key)
	}
}
