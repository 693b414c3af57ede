package evapi

import (
	"bytes"
	"errors"
	"net"
	"time"

	"golang.org/x/net/ipv4"
)

const (
	// readPause is the pause after a read error: it may be one that lasts.
	readPause = 100 * time.Millisecond
	// maxReply is the number of bytes that are read of a response: its first lines are
	// enough, and its body is of no use.
	maxReply = 4096
)

// read takes responses until the link is stopped.
func (l *sipLink) read() {
	packets := make([]ipv4.Message, linkBatch)
	for i := range packets {
		packets[i].Buffers = [][]byte{make([]byte, maxReply)}
	}
	results := make([]Result, 0, linkBatch)
	var others []otherwise
	failing := false // since the last packet
	for {
		n, err := l.pc.ReadBatch(packets, 0)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// The timer of the request sends it again.
			if !failing {
				l.c.cfg.Log.Warn().Err(err).Str("kamailio", l.c.cfg.Name).Msg("SIP from Kamailio not read")
			}
			failing = true
			select {
			case <-time.After(readPause):
			case <-l.over:
				return
			}
			continue
		}
		failing = false
		clear(others)
		results, others = l.responses(packets[:n], results[:0], others[:0])
		for _, ack := range l.dueACKs() {
			_, _ = l.conn.WriteTo(ack, l.target) // one that is lost is sent again with the next response
		}
		for _, o := range others {
			if err := l.sendOtherwise(o); err != nil {
				code := 503
				if errors.Is(err, ErrTooLarge) {
					code = 413 // for good
				}
				results = append(results, o.tx.result(Result{Code: code, Local: true, Reason: err.Error()}))
			}
		}
		for i := range results {
			l.c.handler.Result(l.c, results[i])
		}
	}
}

// otherwise is a copy that is to go on another lane.
type otherwise struct {
	tx   *sipTx
	name string // of a host, to be looked up, see nameWay; may be empty
}

// sendOtherwise sends a copy again on another lane, or once its name is looked up.
func (l *sipLink) sendOtherwise(o otherwise) error {
	tx := o.tx
	if !tx.out.isMessage() {
		return ErrDown
	}
	cp := Copy{Out: tx.out, To: tx.to, CallID: tx.callID, First: tx.first, Dest: tx.dest, Device: tx.device}
	if o.name != "" && l.c.unresolved(cp, o.name) {
		return nil
	}
	return l.c.box.putCopy(cp, true)
}

// responses ends the transactions of the responses in packets. It appends their Results,
// and to others the copies that are to go on another lane.
func (l *sipLink) responses(packets []ipv4.Message, results []Result, others []otherwise) ([]Result, []otherwise) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	waits := l.flow.full()
	for i := range packets {
		r, ok := l.format.parseReply(packets[i].Buffers[0][:packets[i].N])
		if !ok {
			l.c.count.sipStray.Add(1)
			continue
		}
		if r.code < 200 {
			if tx := l.pending.byBranch[r.branch]; tx != nil {
				l.flow.reach(tx.place, now)
				tx.rang = tx.out.method == methodInvite
			}
			continue
		}
		if r.branch == l.probing && r.branch != 0 {
			l.probing = 0
			l.probed <- string(r.reason) // never blocks: it is buffered
			continue
		}
		tx := l.pending.end(r.branch)
		if tx == nil {
			if l.acks.again(r.branch) {
				continue
			}
			if others, ok = l.answered(&r, now, others); !ok {
				l.c.count.sipStray.Add(1)
			}
			continue
		}
		l.flow.reach(tx.place, now)
		if r.noVia {
			l.c.count.sipNoVia.Add(1)
			l.noVia(now)
		}
		if r.code == 503 && string(r.reason) == notHere && r.isOwn(l.mark) {
			l.flow.verify()
			l.wake.set()
		}
		if r.code == 300 {
			if name, ok := l.isOtherwise(tx, &r); ok {
				others = append(others, otherwise{tx, name})
				continue
			}
		}
		l.missed(tx, r.code)
		l.c.count.results.Add(1)
		result := tx.result(Result{Code: r.code, RetryAfter: r.retryAfter})
		if tx.out.method == methodInvite {
			var ack []byte
			ack, result.Dialog = l.format.acknowledge(tx, &r)
			l.acks.add(r.branch, ack, now)
		}
		results = append(results, result)
	}
	if waits && !l.flow.full() {
		l.wake.set()
	}
	return results, others
}

// isOtherwise reports whether a 300 is imc.cfg's own: the copy is to be sent again, on
// another lane, or with a name looked up. It is called with mu held. A copy for one device of which the
// contact has a name does not go there: with a Dest it would be one for all devices.
func (l *sipLink) isOtherwise(tx *sipTx, r *sipReply) (name string, ok bool) {
	if string(r.reason) == otherWay {
		return "", r.isOwn(l.mark)
	}
	host, ok := bytes.CutPrefix(r.reason, []byte(nameWay))
	if !ok || tx.dest != "" || tx.device != "" || !r.isOwn(l.mark) {
		return "", false
	}
	return string(host), true
}

// answered takes the answer to a mark; false if it is none. If it is not from a Kamailio
// that knows our copies, no more are sent like this, and the queued ones are appended to
// others. It is called with mu held.
func (l *sipLink) answered(r *sipReply, now time.Time, others []otherwise) ([]otherwise, bool) {
	if !l.flow.answered(r.branch, now) {
		return others, false
	}
	if !l.open || bytes.HasPrefix(r.reason, []byte(knownHere)) {
		return others, true
	}
	l.open = false
	for _, q := range []*queue{&l.first, &l.rest, &l.routed} {
		for q.n > 0 {
			others = append(others, otherwise{tx: newSIPTx(q.pop())})
		}
	}
	l.refused.set()
	l.wake.set() // to report that the queues are empty
	return others, true
}

// noViaLogged is the time between log lines about responses without Via.
const noViaLogged = time.Hour

// noVia logs that responses have no Via. It is called with mu held.
func (l *sipLink) noVia(now time.Time) {
	if !l.noViaAt.IsZero() && now.Sub(l.noViaAt) < noViaLogged {
		return
	}
	l.noViaAt = now
	l.c.cfg.Log.Error().Str("kamailio", l.c.cfg.Name).
		Msg("responses to MESSAGE come without Via: is topos loaded in Kamailio? Rooms do not work with it")
}
