package evapi

import "sync/atomic"

// Stats counts the events of a Conn since it was made.
type Stats struct {
	Up            bool   // authenticated now
	Queued        int    // copies, replies and answers that are not written or not confirmed by Kamailio
	FramesIn      uint64 // frames read
	FramesOut     uint64 // frames written, pings included
	Windows       uint64 // windows written, lone pings included
	Reconnects    uint64 // welcomes after the first
	DecodeErrors  uint64 // malformed frames; each ended a connection
	UnknownEvents uint64 // frames with an unknown method; ignored
	Unmatched     uint64 // imc.error for no frame of the current window; ignored
	Messages      uint64 // imc.message
	Results       uint64 // outcomes of copies
	Errors        uint64 // imc.error
	Registered    uint64 // imc.registered
	Calls         uint64 // imc.call
	Receipts      uint64 // imc.receipt
	ReceiptsLost  uint64 // receipts that Kamailio answered and dropped, as it reported last
	Pongs         uint64 // imc.pong
	SIPSent       uint64 // requests with copies (LaneSIP), those sent again included
	SIPAgain      uint64 // of these, sent again: no response within the time of RFC 3261
	SIPStray      uint64 // datagrams that are no awaited response; ignored
	SIPNoVia      uint64 // responses that came without a Via
	Held          uint64 // times that copies waited because Kamailio is short of shared memory
	MemoryFree    uint64 // free bytes of Kamailio's shared memory, as it reported last; 0: unknown
	MemoryTotal   uint64 // all of it
	Parked        int    // requests that wait in Kamailio for an engine, as it reported last
	MemoryShort   bool   // copies that take any of it go slowly, so that calls have the rest
}

// counters are the source of Stats; the reader and the writer count.
type counters struct {
	framesIn, framesOut, windows, welcomes, held atomic.Uint64
	decodeErrors, unknownEvents, unmatched       atomic.Uint64
	messages, results, errors, registered, calls atomic.Uint64
	pongs, sipSent, sipAgain, sipStray, receipts atomic.Uint64
	sipNoVia, sipDropped                         atomic.Uint64
}

// droppedSum adds up a number that begins at 0 again when Kamailio is restarted.
type droppedSum struct {
	last uint64 // as reported last; the reader's
	sum  atomic.Uint64
}

func (d *droppedSum) update(n uint64) {
	if n < d.last {
		d.last = 0
	}
	d.sum.Add(n - d.last)
	d.last = n
}

// Stats returns the counters.
func (c *Conn) Stats() Stats {
	n := &c.count
	s := Stats{
		Up:            c.box.isOpen(),
		Queued:        c.box.pending(),
		FramesIn:      n.framesIn.Load(),
		FramesOut:     n.framesOut.Load(),
		Windows:       n.windows.Load(),
		DecodeErrors:  n.decodeErrors.Load(),
		UnknownEvents: n.unknownEvents.Load(),
		Unmatched:     n.unmatched.Load(),
		Messages:      n.messages.Load(),
		Results:       n.results.Load(),
		Errors:        n.errors.Load(),
		Registered:    n.registered.Load(),
		SIPNoVia:      n.sipNoVia.Load(),
		Calls:         n.calls.Load(),
		Receipts:      n.receipts.Load(),
		ReceiptsLost:  c.dropped.sum.Load(),
		Pongs:         n.pongs.Load(),
		SIPSent:       n.sipSent.Load(),
		SIPAgain:      n.sipAgain.Load(),
		SIPStray:      n.sipStray.Load(),
		Held:          n.held.Load(),
		MemoryFree:    c.memory.free.Load(),
		MemoryTotal:   c.memory.total.Load(),
		Parked:        int(c.parked.Load()),
		MemoryShort:   c.memory.short.Load(),
	}
	s.Queued += c.linkQueued()
	if w := n.welcomes.Load(); w > 0 {
		s.Reconnects = w - 1
	}
	return s
}

// Bounds are the bounds of the copies under way through a connection, beside its queues.
type Bounds struct {
	// Copies is the number of copies that fit Kamailio's shared memory at a time; 0: they
	// take none of it, or it is unknown yet.
	Copies int
	// Paced: no more is sent than Kamailio's sockets hold. Otherwise copies come back to
	// Kamailio's own sockets from its workers, and nothing reports when they were read.
	Paced bool
	// Dropped is the number of datagrams that did not fit Kamailio's socket, since imcd was
	// started, as far as it is known.
	Dropped uint64
}

// Bounds returns the present ones.
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

// linkQueued counts the copies that wait to be sent by SIP.
func (c *Conn) linkQueued() int {
	if l := c.link.Load(); l != nil {
		return l.queued()
	}
	return 0
}
