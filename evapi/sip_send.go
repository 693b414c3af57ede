package evapi

import (
	"fmt"
	"time"

	"golang.org/x/net/ipv4"
)

// giveWay is how long copies wait for replies that Kamailio has not carried out: the sender
// of a message need not wait for the copies to others.
const giveWay = 5 * time.Millisecond

// round is the work that the writer does at a time. It is reused.
type round struct {
	txs     []*sipTx      // to be sent, for the first time or again
	expired []*sipTx      // to be given up
	mark    uint64        // branch of a mark to be sent after these; 0: none
	drained bool          // a queue that was full is half empty
	through bool          // the form of these requests, see sipFormat
	format  sipFormat     // as it was when the round began
	wait    time.Duration // until there may be work again; 0: at once
}

// next takes the work of now.
func (l *sipLink) next(r *round) {
	clear(r.txs)
	r.txs, r.expired, r.mark, r.drained = r.txs[:0], r.expired[:0], 0, false
	replying := l.c.box.replying()
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	r.through, r.format = l.way == through, l.format
	wait, ask := l.flow.hold(now)
	if ask && l.open {
		r.mark = l.flow.ask(now)
	}
	if r.wait = wait; r.mark != 0 || wait > 0 {
		return
	}
	take := func(tx *sipTx) bool {
		if !l.flow.left() {
			return false
		}
		l.flow.next(socketBytes(tx.size()), now) // tx keeps its own place: a response may be to the first
		return true
	}
	again := linkBatch
	if l.unsent() > 0 {
		again /= 2 // silent devices do not hold up the others
	}
	r.txs, r.expired = l.pending.due(now, again, l.open, take, r.txs, r.expired)
	l.c.count.sipAgain.Add(uint64(len(r.txs)))
	way := l.givesWay(replying, now)
	short := false
	for l.open && !way && len(r.txs) < linkBatch && l.flow.left() {
		var q *queue
		if q, short = l.ready(now); q == nil {
			break
		}
		l.c.memory.took(&l.c.memory.sip, l.takes(q))
		tx := l.pending.begin(q.pop(), now)
		tx.place = l.flow.next(socketBytes(tx.size()), now)
		r.txs = append(r.txs, tx)
	}
	l.c.count.sipSent.Add(uint64(len(r.txs)))
	if len(r.txs) > 0 && l.flow.behind() {
		r.mark = l.flow.ask(now)
	}
	r.drained = l.drained()
	r.wait = l.pending.wait(now)
	if way {
		r.wait = min(r.wait, giveWay)
	}
	if short {
		l.c.count.held.Add(1)
		l.c.box.wake.set() // the writer of frames then asks for Kamailio's memory
		r.wait = min(r.wait, shortPoll)
	}
}

// givesWay reports whether copies must wait for replies. It is called with mu held.
func (l *sipLink) givesWay(replying bool, now time.Time) bool {
	switch {
	case !replying || l.unsent() == 0:
		l.gave = time.Time{}
	case l.gave.IsZero():
		l.gave = now
	}
	if !l.gave.IsZero() && now.Sub(l.gave) >= giveWay {
		l.gave = now // one batch goes
		return false
	}
	return !l.gave.IsZero()
}

// write sends until the link is stopped.
func (l *sipLink) write() {
	var r round
	packets := make([]ipv4.Message, 0, linkBatch+1)
	buf := make([]byte, 0, (linkBatch+1)*1024)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	failing := false // the last batch was not sent
	for {
		l.look(false)
		l.next(&r)
		if r.drained {
			l.c.drained()
		}
		for _, tx := range r.expired {
			l.c.count.results.Add(1)
			l.c.handler.Result(l.c, tx.result(Result{Code: 408}))
		}
		if len(r.txs) == 0 && r.mark == 0 {
			timer.Reset(r.wait)
			select {
			case <-l.over:
				return
			case <-l.wake:
			case <-timer.C:
			}
			continue
		}
		packets, buf = l.build(packets[:0], buf[:0], &r)
		err := l.send(packets)
		if err != nil {
			select {
			case <-l.over:
				return
			default:
			}
		}
		// The timers of these requests send them again.
		if err != nil && !failing {
			l.c.cfg.Log.Warn().Err(err).Str("kamailio", l.c.cfg.Name).Msg("SIP to Kamailio not sent")
		}
		failing = err != nil
	}
}

// build makes the datagrams of a round, one after the other in buf.
func (l *sipLink) build(packets []ipv4.Message, buf []byte, r *round) ([]ipv4.Message, []byte) {
	for _, tx := range r.txs {
		start := len(buf)
		if size := tx.size(); cap(buf)-start < size {
			// The others' datagrams keep the old array.
			buf, start = make([]byte, 0, max(size, cap(buf))), 0
		}
		buf = r.format.appendRequest(buf, tx, r.through)
		packets = append(packets, ipv4.Message{Buffers: [][]byte{buf[start:]}, Addr: l.target})
	}
	if r.mark == 0 {
		return packets, buf
	}
	start := len(buf)
	buf = r.format.appendOptions(buf, r.mark)
	return append(packets, ipv4.Message{Buffers: [][]byte{buf[start:]}, Addr: l.target}), buf
}

func (l *sipLink) send(packets []ipv4.Message) error {
	for len(packets) > 0 {
		n, err := l.pc.WriteBatch(packets, 0)
		if err != nil {
			return fmt.Errorf("send to %v: %w", l.target, err)
		}
		packets = packets[n:]
	}
	return nil
}
