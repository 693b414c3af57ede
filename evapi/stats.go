package evapi

import "sync/atomic"

// Stats counts what happened on a Conn since it was made.
type Stats struct {
	Up            bool   // authenticated now
	Queued        int    // copies, replies and answers that are not written, or that Kamailio has not confirmed yet
	FramesIn      uint64 // frames read
	FramesOut     uint64 // frames written, pings included
	Windows       uint64 // windows written, lone pings included
	Reconnects    uint64 // welcomes after the first
	DecodeErrors  uint64 // frames that could not be understood; each ended a connection
	UnknownEvents uint64 // frames with a method that is not known; ignored
	Unmatched     uint64 // imc.error for no frame of the current window; ignored
	Messages      uint64 // imc.message
	Results       uint64 // outcomes of copies
	Errors        uint64 // imc.error
	Registered    uint64 // imc.registered
	Calls         uint64 // imc.call
	Receipts      uint64 // imc.receipt
	ReceiptsLost  uint64 // receipts that Kamailio answered and dropped, as it said last
	Pongs         uint64 // imc.pong
	SIPSent       uint64 // requests with copies (LaneSIP), repetitions included
	SIPAgain      uint64 // repetitions among them: no response within the time of RFC 3261
	SIPStray      uint64 // datagrams that came and are no response that is awaited; ignored
	SIPNoVia      uint64 // responses that came without a Via
	Held          uint64 // times that copies waited because Kamailio is short of shared memory
	MemoryFree    uint64 // bytes of Kamailio's shared memory, as it said last; 0 if it does not say
	MemoryTotal   uint64 // all of it
	MemoryShort   bool   // copies that take any of it go slowly, so that calls have the rest
}

// counters are Stats while they are counted, by the reader and the writer.
type counters struct {
	framesIn, framesOut, windows, welcomes, held atomic.Uint64
	decodeErrors, unknownEvents, unmatched       atomic.Uint64
	messages, results, errors, registered, calls atomic.Uint64
	pongs, sipSent, sipAgain, sipStray, receipts atomic.Uint64
	sipNoVia                                     atomic.Uint64
	sipDropped                                   atomic.Uint64
}

// droppedSum adds up a number that begins at 0 again when Kamailio is restarted.
type droppedSum struct {
	last uint64 // as it was said last; the reader's
	sum  atomic.Uint64
}

func (d *droppedSum) tell(n uint64) {
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
		MemoryShort:   c.memory.short.Load(),
	}
	s.Queued += c.linkQueued()
	if w := n.welcomes.Load(); w > 0 {
		s.Reconnects = w - 1
	}
	return s
}
