package evapi

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
)

const (
	// maxDatagram leaves space for the headers that Kamailio adds, within 65507 bytes.
	maxDatagram = 64000
	// linkBuffer is the receive buffer that a link asks for, in bytes: for responses to some
	// thousands of copies. The kernel may grant less.
	linkBuffer = 4 << 20
)

// These words stand behind the number of the connection in Kamailio's answer to OPTIONS:
// where copies go from there.
const (
	toRouting = ""         // through Kamailio's routing
	toHop     = " via"     // Kamailio forwards them to the next hop
	through   = " through" // Kamailio passes them on to the next hop as they are
)

// sipLink sends copies to one Kamailio as SIP requests over UDP and takes the responses: it
// is the client side of their transactions (RFC 3261, 17.1.2), so that Kamailio need not
// have any of its own. It outlives a connection to evapi: meanwhile it is paused, and sends
// nothing, but still takes responses.
//
// Two goroutines work for it, the writer and the reader.
type sipLink struct {
	c       *Conn
	uri     string // Kamailio's
	conn    *net.UDPConn
	pc      *ipv4.PacketConn
	target  *net.UDPAddr
	gauge   *gauge        // nil: the kernel does not report the level of Kamailio's socket. The writer's
	drops   uint64        // as the gauge read it last; the writer's
	wake    signal        // for the writer
	over    chan struct{} // closed by stop
	loops   sync.WaitGroup
	refused signal // Kamailio does not know the link any more; keepLink takes it

	mu      sync.Mutex // guards the fields below; nothing blocks while it is held
	format  sipFormat
	open    bool   // false: paused, or refused
	mark    string // see ownMark
	way     string // where copies go from Kamailio: toRouting, toHop or through
	direct  bool   // only copies that find no device go to routing (IMC_DIRECT)
	first   queue  // copies with First
	rest    queue  // the other copies
	routed  queue  // with direct: copies that go to routing for certain
	wanted  bool   // first or rest was full
	pending sipTransactions
	flow    sipFlow
	acks    acks          // of INVITEs that have ended
	gave    time.Time     // since when copies have given way; zero: they do not
	noViaAt time.Time     // when the log said last that responses have no Via
	probing uint64        // branch of the probe; 0: none
	probed  chan<- string // gets the reason phrase of its response
}

// openLink opens the socket to a Kamailio's SIP URI, which must have an IPv4 address of
// this host, and UDP.
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
		format: newSIPFormat(conn.LocalAddr().String(), target.String()), wake: newSignal(),
		over: make(chan struct{}), refused: newSignal(), pending: newSIPTransactions()}
	if !c.ungauged {
		if l.gauge, err = openGauge(target); err != nil {
			c.cfg.Log.Info().Err(err).Str("kamailio", c.cfg.Name).
				Msg("the kernel does not tell what Kamailio has read: copies that have no answer are bounded by a number")
		}
	}
	l.look(true)
	return l, nil
}

// enlarge asks for the buffer, and logs once if there is less: a response that does not fit
// is sent again half a second later.
func (c *Conn) enlarge(conn *net.UDPConn, wanted int) {
	err := conn.SetReadBuffer(wanted)
	n := granted(conn)
	if err == nil && (n == 0 || n >= wanted) || c.bufferLogged {
		return
	}
	c.bufferLogged = true
	c.cfg.Log.Info().Err(err).Str("kamailio", c.cfg.Name).Int("wanted", wanted).Int("granted", n).
		Msg("the receive buffer for responses is smaller than it might be: net.core.rmem_max bounds it")
}

// from is the address and port that copies come from.
func (l *sipLink) from() netip.AddrPort {
	a := l.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// learn takes the features of a welcome that concern copies by SIP.
func (l *sipLink) learn(w *Welcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.format.atPlace(w.Place)
	l.mark = ownMark(w)
	l.direct = slices.Contains(w.Features, featureDirect)
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

// look asks the kernel how much Kamailio has not read; unless always, only if the flow
// needs it. If the kernel does not answer, because Kamailio is being restarted, marks take
// its place again.
func (l *sipLink) look(always bool) {
	l.mu.Lock()
	unsure := l.flow.unsure()
	l.mu.Unlock()
	if l.gauge == nil || !unsure && !always {
		return
	}
	now, err := l.gauge.read()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.flow.size = 0
		return
	}
	l.flow.gauged(now)
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
	case <-l.refused: // an earlier refusal
	default:
	}
	l.flow.forget()
	l.wake.set()
}

// pause stops copies. It returns those that were not sent.
func (l *sipLink) pause() []copyKey {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = false
	return drain(&l.first, &l.rest, &l.routed)
}

// forget drops all transactions: Kamailio was restarted, and no response will come.
func (l *sipLink) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = newSIPTransactions()
}

// put queues a checked copy.
func (l *sipLink) put(cp *Copy) error {
	if cp.Out.sipSize(len(cp.To), len(cp.CallID))+destSize(cp.Dest)+deviceSize(cp.Device)+cp.Dialog.size() > maxDatagram {
		return ErrTooLarge
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	q := &l.rest
	switch {
	case l.way == toRouting && l.direct && (cp.Dest != "" || !cp.Out.isMessage()):
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
	q.push(entry{out: cp.Out, to: cp.To, callID: cp.CallID, dest: cp.Dest, device: cp.Device,
		dialog: cp.Dialog, first: cp.First})
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
	if l.way == toRouting && l.direct && tx.dest == "" && code >= 300 && tx.out.isMessage() {
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
