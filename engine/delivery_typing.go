package engine

import (
	"strconv"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

// "Is typing" (RFC 3994) of a member goes once to members that are known to be online. It is not stored,
// numbered or repeated, takes no turn, and waits only for the messages of this round. It is dropped if
// not all of these can be sent now, or if there is too much of it. Its outcome is ignored.

// Limits of typing. Clients say once a minute that somebody still types.
const (
	// typingBurst is how many of one member pass at once; then one each typingEvery passes.
	typingBurst = 4
	typingEvery = time.Second
	// typingRequests is how many a shard takes in a round.
	typingRequests = 256
	// typingCopies is how many copies a shard makes in a second.
	typingCopies = 200
	// typingMark begins the last part of their Call-IDs.
	typingMark = "-t"
)

// typing takes an "is typing".
func (d *delivery) typing(req *request) {
	if r := d.rooms[req.roomKey()]; r != nil && len(d.typedNow) < typingRequests {
		d.typedNow = append(d.typedNow, typed{req, r.seq})
	} else if r != nil {
		d.engine.metrics.typing("dropped")
	}
}

// sendTyping sends what came in this round, behind all messages.
func (d *delivery) sendTyping() {
	for i := range d.typedNow {
		t := &d.typedNow[i]
		r := d.rooms[t.req.roomKey()]
		switch {
		case r == nil || r.seq != t.seq: // the message has come
		case len(d.small)+len(d.turns) > 0 || len(d.hasNote) > 0 || d.ending:
			d.engine.metrics.typing("dropped")
		default:
			d.passTyping(r, t.req)
		}
	}
	clear(d.typedNow)
	d.typedNow = d.typedNow[:0]
}

// passTyping sends the "is typing" of one member to others.
func (d *delivery) passTyping(r *room, req *request) {
	m := r.get(req.fromKey())
	if m == nil || m.invited() || m.key == r.key || !r.maySpeak(m, d.now) ||
		!r.atMost(r.settings.typingMembers(&d.engine.cfg)) {
		return
	}
	if !r.mayType(m, d.now) {
		d.engine.metrics.typing("dropped")
		return
	}
	out, err := d.engine.composeTyping(r, req, d.now)
	if err != nil {
		return // too long, or a header that cannot be passed on
	}
	forNatives := d.engine.nativeTyping(r, req, d.now)
	for _, to := range r.order {
		if to == m || !to.reachable() {
			continue
		}
		copies := []evapi.Copy{{Out: out, To: to.uri}}
		if devices, _ := d.engine.natives.of(to.key); len(devices) > 0 {
			copies = nil
			for _, gruu := range devices {
				if forNatives != nil {
					copies = append(copies, evapi.Copy{Out: forNatives, To: gruu})
				}
			}
		}
		for i := range copies {
			if !d.typeTo(req, copies[i]) {
				return
			}
		}
	}
}

// typeTo sends one copy. False: no more can be sent now.
func (d *delivery) typeTo(req *request, cp evapi.Copy) bool {
	wait, _ := d.typedCopies.take(Rate{Count: typingCopies, Per: time.Second}, d.now)
	outcome := "dropped"
	if wait <= 0 {
		d.serial++
		cp.CallID = d.prefix + d.engine.tag + typingMark + strconv.FormatUint(d.serial, 36)
		if _, err := d.engine.relay.Send(req.msg.Conn, cp); err == nil {
			outcome = "sent"
		}
	}
	d.engine.metrics.typing(outcome)
	return outcome == "sent"
}

// reachable reports whether the last copy for m has arrived, and m has not waited since.
func (m *member) reachable() bool {
	code := m.last.code()
	return m.live && m.mode == following && m.wait == nil && code >= 200 && code < 300
}

// mayType reports whether one more "is typing" of m may pass.
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

// composeTyping makes the copy. Its author is the display name: clients show nothing else of it.
func (e *Engine) composeTyping(r *room, req *request, now time.Time) (*evapi.Outgoing, error) {
	row := &store.MessageRow{Sender: req.from, Display: cleanDisplay(req.display), Headers: req.rowHeaders(), At: now}
	headers := append(e.copyHeaders(r, row), evapi.Header{Name: headerExpires, Value: "0"},
		evapi.Header{Name: headerPriority, Value: "non-urgent"})
	return evapi.NewOutgoing(evapi.Content{From: nameAddr(displayOf(row), r.name), ContentType: req.contentType,
		Headers: headers, Body: req.body})
}
