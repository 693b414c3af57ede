package evapi

import (
	"sync/atomic"
	"time"
)

// lowPoll is how often Kamailio is asked for its memory while copies are held
// back for want of it.
const lowPoll = 100 * time.Millisecond

// memory is what Kamailio has of shared memory, as its last pong said. It needs
// it for calls and registrations: copies may not use it up. The reader writes.
type memory struct{ free, total atomic.Uint64 }

func (m *memory) tell(free, total uint64) {
	m.free.Store(free)
	m.total.Store(total)
}

// low reports whether less than a third is left: what is left is in pieces, and
// too few of them are large enough long before all is used. A Kamailio that does
// not say is never low.
func (m *memory) low() bool { return m.free.Load() < m.total.Load()/3 }
