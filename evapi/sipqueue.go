package evapi

import "time"

// The copies that wait for a link, and which of them may go. What Kamailio forwards to a next
// hop, or to a device that it has found (IMC_DIRECT), takes none of its shared memory; what
// goes to its routing has a transaction.

// put queues a checked copy.
func (l *sipLink) put(cp *Copy) error {
	if cp.Out.sipSize(len(cp.To), len(cp.CallID))+destRoom(cp.Dest) > maxDatagram {
		return ErrTooLarge
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	q := &l.rest
	switch {
	case l.way == toRouting && l.direct && cp.Dest != "":
		q = &l.routed
	case cp.First:
		q = &l.first
	}
	switch {
	case !l.open:
		return ErrDown
	case q.n >= l.c.cfg.QueueFrames:
		return ErrFull
	case q.n >= l.limit() && cp.Dest == "":
		l.wanted = true
		return ErrFull
	}
	q.push(entry{out: cp.Out, to: cp.To, callID: cp.CallID, dest: cp.Dest, first: cp.First})
	l.ring()
	return nil
}

// queued counts the copies that have not been sent.
func (l *sipLink) queued() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unsent()
}

// unsent is queued with mu held.
func (l *sipLink) unsent() int { return l.first.n + l.rest.n + l.routed.n }

// ready is the queue whose first copy may go now; nil: none. short tells that copies wait
// for Kamailio's memory. It is called with mu held.
func (l *sipLink) ready(now time.Time) (q *ring, short bool) {
	m := &l.c.memory
	for _, q := range [...]*ring{&l.first, &l.rest, &l.routed} {
		switch takes := l.takes(q); {
		case q.n == 0:
		case takes > 0 && m.may(&m.sip, now), takes == 0 && m.mayUnlessMissed(&m.sip, now):
			return q, short
		default:
			short = true
		}
	}
	return nil, short
}

// takes is what a copy of q takes of Kamailio's shared memory for certain.
func (l *sipLink) takes(q *ring) int {
	if l.way != toRouting || l.direct && q != &l.routed {
		return 0
	}
	return routedCopy
}

// missed notes the final response to a copy that was to find a device: if it has failed, it
// may have gone to routing.
func (l *sipLink) missed(tx *sipTx, code int) {
	if l.way == toRouting && l.direct && tx.dest == "" && code >= 300 {
		l.c.memory.took(&l.c.memory.sip, routedCopy)
	}
}
