package engine

import (
	"strconv"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

const (
	// maxNotes bounds what waits for one user; more is dropped.
	maxNotes = 512
	// noteAge is how long an answer is worth sending. Invitations are not
	// answers: they wait.
	noteAge = time.Minute
	// maxTries bounds how often a note is sent again because the connection
	// to Kamailio was lost with it.
	maxTries = 5
)

// note is one answer or notice to one user.
type note struct {
	out    *evapi.Outgoing
	via    *evapi.Conn
	room   *room      // of invite or greets
	invite *member    // whose invitation it is; nil for all others
	greets *member    // who entered the room and is told so; nil for all others
	adder  store.Name // who added greets; zero if nobody did
	stored int64      // ID of its NoteRow; 0: it is none that is kept
	noted  bool       // who invited knows that it waits
	size   int        // bytes charged
	made   time.Time
	tries  int
}

// stream is what one user gets outside of the rooms' logs, in order. Owned by
// its shard.
type stream struct {
	user   store.Name
	key    string
	notes  []note // to be sent; the first is under way if flight is not nil
	flight *flight
	kept   []note    // that wait until the user is there
	due    time.Time // when these are tried again without that
}

// note queues n for a user.
func (s *shard) note(to store.Name, n note) {
	st := s.streamOf(to)
	if len(st.notes) >= maxNotes {
		s.engine.metrics.dropped.Inc()
		s.engine.charge(-n.size)
		return
	}
	n.made = s.now
	if len(st.notes) == 0 {
		s.hasNote = append(s.hasNote, st)
	}
	st.notes = append(st.notes, n)
}

// streamOf is the stream of a user, made if there is none.
func (s *shard) streamOf(user store.Name) *stream {
	key := user.Key()
	st := s.streams[key]
	if st == nil {
		st = &stream{user: user, key: key}
		s.streams[key] = st
	}
	return st
}

// sendNote sends the first note of st. False: not now.
func (s *shard) sendNote(st *stream) bool {
	n := &st.notes[0]
	f := &flight{id: s.idOf(n), stream: st, out: n.out, credit: weigh(n.out.BodyLen())}
	if !s.engine.credits.takeNote(s.inbox, f.credit) {
		return false
	}
	seen := s.engine.credits.drained.Load()
	var err error
	f.conn, err = s.engine.relay.Send(n.via, evapi.Copy{Out: n.out, To: st.user.URI(), CallID: f.id, First: true})
	st.flight = f
	switch {
	case later(err) && (n.keeps() || s.now.Sub(n.made) < noteAge):
		st.flight = nil
		s.notSent(f.credit, seen, err)
		return false
	case err != nil:
		s.engine.log.Warn().Err(err).Str("user", st.key).Msg("notice not sent")
		s.land(f, evapi.Result{CallID: f.id, Code: 400, Local: true, Reason: err.Error()})
	default:
		s.takeOff(f)
	}
	return true
}

// idOf names a copy of a note. That of one that is kept is the same each time it is sent,
// also after a restart: nobody reads twice that a room was destroyed.
func (s *shard) idOf(n *note) string {
	if n.stored != 0 {
		return s.prefix + "k" + strconv.FormatInt(n.stored, 36)
	}
	return s.noteID()
}

// noteDone goes on to the next note.
func (s *shard) noteDone(f *flight, r evapi.Result) {
	st := f.stream
	st.flight = nil
	n := &st.notes[0]
	n.tries++
	if (judge(r) == resend || f.back && n.mustKeep(r)) && n.tries < maxTries {
		s.hasNote = append(s.hasNote, st)
		return
	}
	done := *n
	st.notes[0] = note{}
	st.notes = st.notes[1:]
	s.engine.charge(-done.size)
	switch {
	case done.mustKeep(r):
		kept := done
		kept.adder = store.Name{} // is told once
		s.keep(st, kept, s.now.Add(s.engine.cfg.OfflineRetry))
	default:
		s.unstore(done)
		if done.invite != nil {
			s.invitationDone(done.room, done.invite, r)
		}
	}
	if len(st.notes) > 0 {
		s.hasNote = append(s.hasNote, st)
	}
	if judge(r) == arrived {
		s.release(st) // its user is there
	}
	s.forgetStream(st)
	if done.greets != nil {
		s.greeted(&done, r)
	}
}

// forgetStream forgets a stream that has nothing any more.
func (s *shard) forgetStream(st *stream) {
	if len(st.notes) == 0 && len(st.kept) == 0 && s.streams[st.key] == st {
		delete(s.streams, st.key)
	}
}

// greeted takes the outcome of what somebody is told who has entered a room: the first
// sign of whether there is a device.
func (s *shard) greeted(n *note, result evapi.Result) {
	r, m := n.room, n.greets
	if s.rooms[r.key] != r || !r.has(m) {
		return // gone meanwhile
	}
	if m.last == 0 {
		m.last = newLastResult(result.Code, s.now)
	}
	if m.news == withheld && judge(result) == arrived {
		c := s.own(r)
		c.appears(m)
		s.submit(c.tx)
	}
	if !n.adder.IsZero() && judge(result) == offline {
		c := s.own(r)
		c.tell(n.adder, "added_offline", vars{"user": c.show(m.name())})
		s.submit(c.tx)
	}
}
