package evapi

// Bounds says what the copies under way through a connection are bounded by, beside its
// queues.
type Bounds struct {
	// Copies is how many fit Kamailio's shared memory at a time; 0: copies take none of
	// it, or it is not known yet.
	Copies int
	// Paced: no more is sent than Kamailio's sockets hold. Otherwise copies come back to
	// Kamailio's own sockets from its workers, and nobody tells when they were read.
	Paced bool
	// Dropped is how many datagrams did not fit Kamailio's socket, since imcd was started, as
	// far as it is known.
	Dropped uint64
}

// Bounds returns those of now.
func (c *Conn) Bounds() Bounds {
	l := c.link.Load()
	takes, open, paced := l.bounds()
	if !open {
		takes, paced = c.box.bounds()
	}
	b := Bounds{Paced: paced, Dropped: c.count.sipDropped.Load()}
	if all := c.memory.total.Load(); takes > 0 && all > 0 {
		b.Copies = max(1, int(all/3*2)/takes)
	}
	return b
}

// bounds says what a copy takes of Kamailio's shared memory, whether copies go this way,
// and whether the kernel tells what Kamailio has not read. l may be nil.
func (l *sipLink) bounds() (takes int, open, paced bool) {
	if l == nil {
		return 0, false, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.takes(&l.rest), l.open, l.pace.size > 0
}

// bounds says what a copy takes of Kamailio's shared memory, and whether it goes straight to
// its device.
func (b *outbox) bounds() (takes int, direct bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.peer == nil {
		return 0, false
	}
	return b.peer.takes(), b.peer.lane == LaneDirect
}

// drained tells the handler.
func (c *Conn) drained() {
	if h, ok := c.handler.(DrainHandler); ok {
		h.Drained(c)
	}
}
