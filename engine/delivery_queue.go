package engine

import (
	"time"

	"imcd/engine/store"
)

const (
	// maxNotes bounds the notes that wait for one user; more are dropped.
	maxNotes = 512
	// noteAge is how long a note is tried. Kept notes wait longer.
	noteAge = time.Minute
	// maxTries bounds how often a note is sent again because it was lost with the connection to Kamailio.
	maxTries = 5
)

// note queues n for a user.
func (d *delivery) note(to store.Name, n note) {
	st := d.streamOf(to)
	if len(st.notes) >= maxNotes {
		d.engine.metrics.dropped.Inc()
		d.engine.charge(-n.size)
		return
	}
	n.made = d.now
	if len(st.notes) == 0 {
		d.hasNote = append(d.hasNote, st)
	}
	st.notes = append(st.notes, n)
}

// streamOf is the stream of a user; it makes one if there is none.
func (d *delivery) streamOf(user store.Name) *stream {
	key := user.Key()
	st := d.streams[key]
	if st == nil {
		st = &stream{user: user, key: key}
		d.streams[key] = st
	}
	return st
}

// forgetStream drops a stream that is empty.
func (d *delivery) forgetStream(st *stream) {
	if len(st.notes) == 0 && len(st.kept) == 0 && d.streams[st.key] == st {
		delete(d.streams, st.key)
	}
}
