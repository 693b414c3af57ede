package evapi

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
)

const (
	// giveWay is how long copies wait for replies that Kamailio has not carried
	// out: who has said something need not wait for what is sent to others.
	giveWay = 5 * time.Millisecond
	// maxDatagram leaves room for what Kamailio adds, within 65507 bytes.
	maxDatagram = 64000
	// readPause is how long nothing is read after an error: it may be one that lasts.
	readPause = 100 * time.Millisecond
	// maxReply is how much of a response is read: what counts stands in its
	// first lines, and its body is of no use.
	maxReply = 4096
)

// sipLink sends copies to one Kamailio as SIP requests over UDP and takes the
// responses: it is the client side of their transactions (RFC 3261, 17.1.2), so
// that Kamailio need not have any of its own. It outlives a connection to
// evapi: meanwhile it is paused, and sends nothing, but still takes responses.
//
// Two goroutines work for it, the writer and the reader.
type sipLink struct {
	c      *Conn
	uri    string // Kamailio's
	conn   *net.UDPConn
	pc     *ipv4.PacketConn
	target *net.UDPAddr
	gauge  *gauge // nil: the kernel does not tell what lies in Kamailio's socket. The writer's
	drops  uint64 // as it said last; the writer's
	form   sipForm
	wake   chan struct{} // capacity 1; tells the writer that there is something to do
	over   chan struct{} // closed by stop
	loops  sync.WaitGroup
	// refused has a token when Kamailio does not know the link any more; keepLink takes it.
	refused chan struct{}

	mu      sync.Mutex // guards what follows; nothing blocks while it is held
	open    bool       // false: paused, or refused
	mark    string     // what imc.cfg has in ownHeader; empty: it is one that has no such header
	way     string     // where copies go from Kamailio: toRouting, toHop or through
	direct  bool       // to routing only those go that find no device (IMC_DIRECT)
	first   ring       // copies with First
	rest    ring       // the other copies
	routed  ring       // with direct: those that go to routing for certain
	wanted  bool       // one of them was full
	pending sipPending
	pace    sipPace
	gave    time.Time     // since when copies have given way; zero: they do not
	noViaAt time.Time     // when it was logged last that responses have no Via
	probing uint64        // branch of the probe; 0: none
	probed  chan<- string // gets the reason phrase of its response
}

// openLink opens the socket towards a Kamailio's SIP URI, which must have an IPv4
// address of this host, and UDP.
func openLink(c *Conn, uri string) (*sipLink, error) {
	target, err := netip.ParseAddrPort(strings.TrimPrefix(uri, "sip:"))
	if err != nil || !target.Addr().Is4() {
		return nil, fmt.Errorf("own address %.200q of Kamailio is none of IPv4 and UDP", uri)
	}
	// The address is Kamailio's own: binding to it fails on any other host.
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(target.Addr(), 0)))
	if err != nil {
		return nil, fmt.Errorf("socket to Kamailio's %v: %w", target, err)
	}
	c.enlarge(conn, linkBuffer)
	l := &sipLink{c: c, uri: uri, conn: conn, pc: ipv4.NewPacketConn(conn), target: net.UDPAddrFromAddrPort(target),
		form: newSIPForm(conn.LocalAddr().String(), target.String()), wake: make(chan struct{}, 1), over: make(chan struct{}),
		refused: make(chan struct{}, 1), pending: newSIPPending()}
	if !c.ungauged {
		if l.gauge, err = openGauge(target); err != nil {
			c.cfg.Log.Info().Err(err).Str("kamailio", c.cfg.Name).
				Msg("the kernel does not tell what Kamailio has read: copies that have no answer are bounded by a number")
		}
	}
	l.look(true)
	l.loops.Go(l.read)
	l.loops.Go(l.write)
	return l, nil
}

// from is where copies come from.
func (l *sipLink) from() netip.AddrPort {
	a := l.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// stop ends the link and waits for its goroutines.
func (l *sipLink) stop() {
	close(l.over)
	l.conn.Close()
	l.loops.Wait()
	if l.gauge != nil {
		l.gauge.close()
	}
}

// look asks the kernel what Kamailio has read, if that is in question, or always. Should it
// not answer, because Kamailio is being restarted, marks tell again.
func (l *sipLink) look(always bool) {
	l.mu.Lock()
	unsure := l.pace.unsure()
	l.mu.Unlock()
	if l.gauge == nil || !unsure && !always {
		return
	}
	now, err := l.gauge.read()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.pace.size = 0
		return
	}
	l.pace.gauged(now)
	if now.drops != l.drops {
		l.c.count.sipDropped.Add(max(now.drops, l.drops) - l.drops) // fewer: it is another socket
		l.drops = now.drops
	}
}

// resume lets copies go.
func (l *sipLink) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = true
	select {
	case <-l.refused: // before
	default:
	}
	l.pace.forget()
	l.ring()
}

// forget drops all transactions: Kamailio was restarted, and no response will come.
func (l *sipLink) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending.clear()
}

// pause ends that. It returns the Call-IDs of copies that were not sent.
func (l *sipLink) pause() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = false
	return drain(&l.first, &l.rest, &l.routed)
}

// limit is how many copies may wait in a queue, but for those with a Dest: they were sent
// once before.
func (l *sipLink) limit() int { return l.c.cfg.QueueCopies }

// ring wakes the writer.
func (l *sipLink) ring() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// round is what the writer does at a time. Its own, and reused.
type round struct {
	txs     []*sipTx      // to be sent, for the first time or again
	expired []*sipTx      // to be given up
	mark    uint64        // branch of a mark to be sent behind these; 0: none
	drained bool          // a queue that was full is half empty
	through bool          // see sipLink
	wait    time.Duration // until there may be something to do again; 0: at once
}

// next takes what is to be done now.
func (l *sipLink) next(r *round) {
	clear(r.txs)
	r.txs, r.expired, r.mark, r.drained = r.txs[:0], r.expired[:0], 0, false
	replying := l.c.box.replying()
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	r.through = l.way == through
	wait, ask := l.pace.hold(now)
	if ask && l.open {
		r.mark = l.pace.ask(now)
	}
	if r.wait = wait; r.mark != 0 || wait > 0 {
		return
	}
	take := func(tx *sipTx) bool {
		if !l.pace.left() {
			return false
		}
		l.pace.next(tx.room(), now) // it keeps its own place: a response may be to the first
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
	for l.open && !way && len(r.txs) < linkBatch && l.pace.left() {
		var q *ring
		if q, short = l.ready(now); q == nil {
			break
		}
		l.c.memory.took(&l.c.memory.sip, l.takes(q))
		tx := l.pending.begin(q.pop(), now)
		tx.place = l.pace.next(tx.room(), now)
		r.txs = append(r.txs, tx)
	}
	l.c.count.sipSent.Add(uint64(len(r.txs)))
	if len(r.txs) > 0 && l.pace.behind() {
		r.mark = l.pace.ask(now)
	}
	r.drained = l.wanted && l.first.n <= l.limit()/2 && l.rest.n <= l.limit()/2
	l.wanted = l.wanted && !r.drained
	r.wait = l.pending.wait(now)
	if way {
		r.wait = min(r.wait, giveWay)
	}
	if short {
		l.c.count.held.Add(1)
		l.c.box.ring() // so that it asks for Kamailio's memory
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

// passed takes the answer to a mark; false if it is not that. If it is not of a
// Kamailio that knows our copies any more, no more are sent like this, and those that
// wait are put to others. It is called with mu held.
func (l *sipLink) passed(r *sipReply, now time.Time, others []*sipTx) ([]*sipTx, bool) {
	if !l.pace.answered(r.branch, now) {
		return others, false
	}
	if !l.open || bytes.HasPrefix(r.reason, []byte(knownHere)) {
		return others, true
	}
	l.open = false
	for _, q := range []*ring{&l.first, &l.rest, &l.routed} {
		for q.n > 0 {
			others = append(others, newSIPTx(q.pop()))
		}
	}
	select {
	case l.refused <- struct{}{}:
	default: // keepLink has not looked since the last time
	}
	l.ring() // to tell who waited for room
	return others, true
}

// write sends until the link is stopped.
func (l *sipLink) write() {
	var r round
	packets := make([]ipv4.Message, 0, linkBatch+1)
	buf := make([]byte, 0, (linkBatch+1)*1024)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	failing := false // what was sent last was not
	for {
		l.look(false)
		l.next(&r)
		if r.drained {
			l.c.drained()
		}
		for _, tx := range r.expired {
			l.c.count.results.Add(1)
			l.c.handler.Result(l.c, Result{CallID: tx.callID, Code: 408})
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
		// What was not sent is sent again by its timer.
		if err != nil && !failing {
			l.c.cfg.Log.Warn().Err(err).Str("kamailio", l.c.cfg.Name).Msg("SIP to Kamailio not sent")
		}
		failing = err != nil
	}
}

// build makes the datagrams of a round, one behind the other in buf.
func (l *sipLink) build(packets []ipv4.Message, buf []byte, r *round) ([]ipv4.Message, []byte) {
	for _, tx := range r.txs {
		start := len(buf)
		if room := tx.size(); cap(buf)-start < room {
			// The others' datagrams keep the old array.
			buf, start = make([]byte, 0, max(room, cap(buf))), 0
		}
		buf = l.form.appendRequest(buf, tx, r.through)
		packets = append(packets, ipv4.Message{Buffers: [][]byte{buf[start:]}, Addr: l.target})
	}
	if r.mark == 0 {
		return packets, buf
	}
	start := len(buf)
	buf = l.form.appendOptions(buf, r.mark)
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

// read takes responses until the link is stopped.
func (l *sipLink) read() {
	packets := make([]ipv4.Message, linkBatch)
	for i := range packets {
		packets[i].Buffers = [][]byte{make([]byte, maxReply)}
	}
	results := make([]Result, 0, linkBatch)
	var others []*sipTx
	failing := false // since the last packet
	for {
		n, err := l.pc.ReadBatch(packets, 0)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// What it may have been a response to is sent again by its timer.
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
		for _, tx := range others {
			cp := Copy{Out: tx.out, To: tx.to, CallID: tx.callID, First: tx.first, Dest: tx.dest}
			if tx.name != "" && l.c.unresolved(cp, tx.name) {
				continue
			}
			if err := l.c.box.putCopy(cp, true); err != nil {
				code := 503
				if errors.Is(err, ErrTooLarge) {
					code = 413 // for good
				}
				results = append(results, Result{CallID: tx.callID, Code: code, Local: true, Reason: err.Error()})
			}
		}
		for i := range results {
			l.c.handler.Result(l.c, results[i])
		}
	}
}

// responses takes the transactions that the responses in packets end. Those that
// are to go on another lane are in others.
func (l *sipLink) responses(packets []ipv4.Message, results []Result, others []*sipTx) ([]Result, []*sipTx) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	waits := l.pace.full()
	for i := range packets {
		r, ok := l.form.parseReply(packets[i].Buffers[0][:packets[i].N])
		if !ok {
			l.c.count.sipStray.Add(1)
			continue
		}
		if r.code < 200 {
			if tx := l.pending.byBranch[r.branch]; tx != nil {
				l.pace.reach(tx.place, now)
			}
			continue
		}
		if r.branch == l.probing && r.branch != 0 {
			l.probing = 0
			l.probed <- string(r.reason) // has room for one
			continue
		}
		tx := l.pending.end(r.branch)
		if tx == nil {
			if others, ok = l.passed(&r, now, others); !ok {
				l.c.count.sipStray.Add(1)
			}
			continue
		}
		l.pace.reach(tx.place, now)
		if r.noVia {
			l.c.count.sipNoVia.Add(1)
			l.noVia(now)
		}
		if r.code == 503 && string(r.reason) == notHere && l.isOwn(&r) {
			l.pace.distrust()
			l.ring()
		}
		if r.code == 300 && string(r.reason) == otherWay && l.isOwn(&r) {
			others = append(others, tx)
			continue
		}
		if name, ok := bytes.CutPrefix(r.reason, []byte(nameWay)); ok && r.code == 300 && tx.dest == "" && l.isOwn(&r) {
			tx.name = string(name)
			others = append(others, tx)
			continue
		}
		l.missed(tx, r.code)
		l.c.count.results.Add(1)
		results = append(results, Result{CallID: tx.callID, Code: r.code, RetryAfter: r.retryAfter})
	}
	if waits && !l.pace.full() {
		l.ring()
	}
	return results, others
}
