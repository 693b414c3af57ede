package evapi

import "time"

// put queues a checked copy.
func (l *sipLink) put(cp *Copy) error {
	if cp.Out.sipSize(len(cp.To), len(cp.CallID))+destSize(cp.Dest) > maxDatagram {
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
	case q.n >= l.c.cfg.QueueCopies && cp.Dest == "": // one with a Dest was sent before
		l.wanted = true
		return ErrFull
	}
	q.push(entry{out: cp.Out, to: cp.To, callID: cp.CallID, dest: cp.Dest, first: cp.First})
	l.wake.set()
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

// drained reports, once, that a queue that was full is half empty. It is called with mu
// held.
func (l *sipLink) drained() bool {
	half := l.c.cfg.QueueCopies / 2
	drained := l.wanted && l.first.n <= half && l.rest.n <= half
	l.wanted = l.wanted && !drained
	return drained
}

// ready is the queue whose first copy may go now; nil: none. short reports that copies wait
// for Kamailio's memory. It is called with mu held.
func (l *sipLink) ready(now time.Time) (q *queue, short bool) {
	m := &l.c.memory
	for _, q := range [...]*queue{&l.first, &l.rest, &l.routed} {
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

// takes returns how much of Kamailio's shared memory a copy of q takes for certain. A copy
// that Kamailio forwards to a next hop, or to a device that it has found (IMC_DIRECT), takes
// none; in its routing a copy has a transaction.
func (l *sipLink) takes(q *queue) int {
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

// bounds returns how much of Kamailio's shared memory a copy takes, whether copies go this
// way, and whether the kernel reports how much Kamailio has not read. l may be nil.
func (l *sipLink) bounds() (takes int, open, paced bool) {
	if l == nil {
		return 0, false, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.takes(&l.rest), l.open, l.flow.size > 0
}
