package evapi

import (
	"sync"
	"sync/atomic"
	"time"
)

// A copy takes so many bytes of Kamailio's shared memory, until keptFor after its end.
const (
	// loopedCopy leaves Kamailio, comes back and is routed: two transactions.
	loopedCopy = 25 << 10
	// routedCopy has one transaction: a copy of imc.batch that goes straight to devices, or one by SIP
	// that takes the operator's routing.
	routedCopy = loopedCopy / 2
	// keptFor is the time that Kamailio keeps a transaction that has ended (wt_timer).
	keptFor = 5 * time.Second
)

const (
	// shortPoll is the time between pings while copies wait for Kamailio's memory.
	shortPoll = 100 * time.Millisecond
	// figureAge is the age of the figures in a pong, at most: each process of Kamailio looks
	// once in a second.
	figureAge = time.Second
	// shortBurst is the time for which an allowance gathers while there are no copies.
	shortBurst = 250 * time.Millisecond
)

// memory is Kamailio's shared memory, according to its last pong. Kamailio needs it for calls
// and registrations. If less than a third is free, copies that take any go so slowly that
// they have no more than half of the free part: the less is free, the slower. A Kamailio that
// does not report its memory is never short.
type memory struct {
	free, total atomic.Uint64 // bytes; the reader writes
	since       atomic.Int64  // bytes that copies have taken since Kamailio looked at free, about
	short       atomic.Bool   // as it was logged; the reader writes
	looked      time.Time     // when Kamailio looked at free, at the latest; the reader's

	frames allowance // of copies in frames
	sip    allowance // of copies by SIP: most take nothing, and do not wait for the others
}

// update takes the figures of a pong. It reports whether they are to be logged: that memory is
// short, once, and once that it is not any more, but not each step across the border.
func (m *memory) update(free, total uint64, now time.Time) (changed bool) {
	if free != m.free.Load() || now.Sub(m.looked) > figureAge {
		m.looked = now
		m.since.Store(0)
	}
	m.free.Store(free)
	m.total.Store(total)
	short := m.short.Load()
	if short && free < total/5*2 || !short && free >= total/3 {
		return false
	}
	m.short.Store(!short)
	return true
}

// low reports whether less than a third is free: the free part is in pieces, and too few of
// them are large enough long before all is used. If copies must have taken half of that, it
// does not wait for Kamailio's next report.
func (m *memory) low() bool {
	total := m.total.Load()
	return m.free.Load() < total/3 || m.left() < total/6
}

// left is the free part less the bytes that copies have taken since the last report.
func (m *memory) left() uint64 {
	free := m.free.Load()
	return free - min(free, uint64(m.since.Load()))
}

// rate is the number of bytes per second that copies may take; they keep them for keptFor.
func (m *memory) rate() float64 { return float64(m.left()) / 2 / keptFor.Seconds() }

// may reports whether a copy that takes of a may go now.
func (m *memory) may(a *allowance, now time.Time) bool {
	return !m.low() || a.left(now, m.rate()) > 0
}

// mayUnlessMissed is the same for a copy that takes nothing if it finds a device: the
// allowance may be overdrawn by others that found none, but not for more than a second.
func (m *memory) mayUnlessMissed(a *allowance, now time.Time) bool {
	return !m.low() || a.left(now, m.rate()) > -m.rate()-routedCopy
}

// took notes that a copy takes so many bytes.
func (m *memory) took(a *allowance, bytes int) {
	if bytes == 0 {
		return
	}
	m.since.Add(int64(bytes))
	if m.low() {
		a.take(bytes)
	}
}

// allowance is the part of Kamailio's memory that copies may take: so many bytes per second.
// A copy may overdraw it. Any goroutine may use it.
type allowance struct {
	mu    sync.Mutex
	bytes float64   // guarded by mu; below 0: overdrawn
	at    time.Time // guarded by mu; the time of bytes
}

// left is the number of bytes that may be taken now, below 0 if it is overdrawn.
func (a *allowance) left(now time.Time, perSecond float64) float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	gained := max(0, now.Sub(a.at).Seconds()) * perSecond
	a.bytes = min(a.bytes+gained, perSecond*shortBurst.Seconds())
	a.at = now
	return a.bytes
}

func (a *allowance) take(bytes int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.bytes -= float64(bytes)
}
