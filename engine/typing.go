package engine

import (
	"strconv"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

// "Is typing" (RFC 3994) of a member goes to members that are known to be online, once.
// It is neither stored nor numbered nor sent again, takes no member's turn and waits only
// until the messages of this round have been sent. Where not all of these can be sent now,
// or too much typing comes, it is dropped. Its outcome is of no interest.

// Limits of typing. Clients say once a minute that somebody still types.
const (
	// typingBurst is how many of one member pass at once; then one each typingEvery.
	typingBurst = 4
	typingEvery = time.Second
	// typingRequests is how many a shard takes in a round.
	typingRequests = 256
	// typingCopies is how many copies a shard makes in a second.
	typingCopies = 200
	// typingID begins the last part of their Call-IDs.
	typingID = "-t"
)

// typists counts what the members of a room that type have sent, by member. Rooms with
// typing are small, so it is.
type typists map[*member]*meter

// typed is a request that somebody types, until the end of the round.
type typed struct {
	req *request
	seq uint64 // of the room's last message then
}

// typing takes a request that says so, and answers it.
func (s *shard) typing(req *request) {
	if r := s.rooms[req.roomKey()]; r != nil && len(s.typedNow) < typingRequests {
		s.typedNow = append(s.typedNow, typed{req, r.seq})
	} else if r != nil {
		s.engine.metrics.typing("dropped")
	}
	s.reply(req, s.engine.accepted())
}

// sendTyping passes on what has come in this round, behind all messages.
func (s *shard) sendTyping() {
	for i := range s.typedNow {
		t := &s.typedNow[i]
		r := s.rooms[t.req.roomKey()]
		switch {
		case r == nil || r.seq != t.seq: // it is said by now
		case len(s.turns) > 0 || len(s.hasNote) > 0 || s.ending:
			s.engine.metrics.typing("dropped")
		default:
			s.passTyping(r, t.req)
		}
	}
	clear(s.typedNow)
	s.typedNow = s.typedNow[:0]
}

// passTyping gives one member's "is typing" to others.
func (s *shard) passTyping(r *room, req *request) {
	m := r.get(req.fromKey())
	if m == nil || m.invited() || m.key == r.key || !r.atMost(s.engine.cfg.TypingMembers) {
		return
	}
	if !r.mayType(m, s.now) {
		s.engine.metrics.typing("dropped")
		return
	}
	out, err := s.engine.composeTyping(r, req, s.now)
	if err != nil {
		return // too long, or a header that cannot be passed on
	}
	for _, to := range r.order {
		if to == m || !to.reachable() {
			continue
		}
		if wait, _ := s.typedCopies.take(Rate{Count: typingCopies, Per: time.Second}, s.now); wait > 0 {
			s.engine.metrics.typing("dropped")
			return
		}
		s.serial++
		id := s.prefix + s.engine.tag + typingID + strconv.FormatUint(s.serial, 36)
		if _, err := s.engine.relay.Send(req.msg.Conn, evapi.Copy{Out: out, To: to.uri, CallID: id}); err != nil {
			s.engine.metrics.typing("dropped")
			return
		}
		s.engine.metrics.typing("sent")
	}
}

// reachable reports whether the last copy for m has arrived, and none has waited since.
func (m *member) reachable() bool {
	code := m.last.code()
	return m.live && m.mode == following && m.wait == nil && code >= 200 && code < 300
}

// mayType reports whether one more of m may pass.
func (r *room) mayType(m *member, now time.Time) bool {
	t := r.typists[m]
	if t == nil {
		for other := range r.typists {
			if !r.has(other) {
				delete(r.typists, other)
			}
		}
		if r.typists == nil {
			r.typists = make(typists)
		}
		t = new(meter)
		r.typists[m] = t
	}
	wait, _ := t.take(Rate{Count: typingBurst, Per: typingBurst * typingEvery}, now)
	return wait <= 0
}

// composeTyping makes what others get. Its author stands in the display name: the client
// shows nothing else of it.
func (e *Engine) composeTyping(r *room, req *request, now time.Time) (*evapi.Outgoing, error) {
	row := &store.MessageRow{Sender: req.from, Display: cleanDisplay(req.display), Headers: req.rowHeaders(), At: now}
	headers := append(e.copyHeaders(r, row), evapi.Header{Name: headerExpires, Value: "0"},
		evapi.Header{Name: headerPriority, Value: "non-urgent"})
	return evapi.NewOutgoing(evapi.Content{From: nameAddr(displayOf(row), r.name), ContentType: req.contentType,
		Headers: headers, Body: req.body})
}
