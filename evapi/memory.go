package evapi

import (
	"sync"
	"sync/atomic"
	"time"
)

// What a copy takes of Kamailio's shared memory until keptFor after its end, in bytes.
const (
	// loopedCopy leaves Kamailio, comes back and is routed: two transactions.
	loopedCopy = 25 << 10
	// routedCopy has one transaction: one of imc.batch in the direct lane, or one by SIP that
	// takes the operator's routing.
	routedCopy = loopedCopy / 2
	// keptFor is how long Kamailio keeps a transaction that has ended (wt_timer).
	keptFor = 5 * time.Second
)

const (
	// shortPoll is how often Kamailio is asked for its memory while copies wait for it.
	shortPoll = 100 * time.Millisecond
	// figureAge is how old the figures may be that Kamailio tells: each of its processes
	// looks at most once in a second.
	figureAge = time.Second
	// shortBurst is the time for which what may be taken gathers while there are no copies.
	shortBurst = 250 * time.Millisecond
)

// memory is what Kamailio has of shared memory, as its last pong said. It needs it for calls
// and registrations. If less than a third is left, copies that take any of it go so slowly
// that they have no more than half of what is left: the less that is, the slower. A Kamailio
// that does not say how much it has is never short.
type memory struct {
	free, total atomic.Uint64 // bytes; the reader writes
	since       atomic.Int64  // bytes that copies have taken since free was looked at, about
	short       atomic.Bool   // as it was logged; the reader writes
	looked      time.Time     // when free was looked at, at the latest; the reader's

	frames allowance // of copies in frames
	sip    allowance // of those by SIP, of which most take nothing: they do not wait for the others
}

// tell takes what a pong says. It reports whether this is to be logged: that memory is short,
// once, and once that it is not any more, but not each step across the border.
func (m *memory) tell(free, total uint64, now time.Time) (changed bool) {
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

// low reports whether less than a third is left: what is left is in pieces, and too few of
// them are large enough long before all is used. At once, and not only when Kamailio says so,
// if copies must have taken half of that.
func (m *memory) low() bool {
	total := m.total.Load()
	return m.free.Load() < total/3 || m.left() < total/6
}

// left is what copies must have left by now.
func (m *memory) left() uint64 {
	free := m.free.Load()
	return free - min(free, uint64(m.since.Load()))
}

// rate is what copies may take, in bytes a second: what they have is kept for keptFor.
func (m *memory) rate() float64 { return float64(m.left()) / 2 / keptFor.Seconds() }

// may reports whether a copy that takes of a may go now.
func (m *memory) may(a *allowance, now time.Time) bool {
	return !m.low() || a.left(now, m.rate()) > 0
}

// mayUnlessMissed is the same for a copy that takes nothing if it finds a device: others that
// found none may be owed for, but not for more than a second.
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

// logMemory says that a Kamailio's memory is short, or is not any more.
func (c *Conn) logMemory() {
	free, total := c.memory.free.Load(), c.memory.total.Load()
	if c.memory.short.Load() {
		c.cfg.Log.Warn().Str("kamailio", c.cfg.Name).Uint64("shm_free", free).Uint64("shm", total).
			Msg("Kamailio is short of shared memory: copies that take any of it go slowly")
		return
	}
	c.cfg.Log.Info().Str("kamailio", c.cfg.Name).Uint64("shm_free", free).Uint64("shm", total).
		Msg("Kamailio has shared memory again: copies go as fast as they can")
}

// allowance is what copies may take of Kamailio's memory: so many bytes a second. A copy may
// take more than there is, which is owed then. Any goroutine may use it.
type allowance struct {
	mu    sync.Mutex
	bytes float64   // guarded by mu; below 0: owed
	at    time.Time // guarded by mu; when that was right
}

// left is what may be taken now, below 0 if something is owed.
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
