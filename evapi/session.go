package evapi

import (
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"imcd/evapi/netstring"
)

// session is one connection, from hello to its end.
type session struct {
	c  *Conn
	nc *wireConn

	// current is the window whose pong is awaited. The writer sets it before it writes; the
	// reader clears it at the pong, and at the end.
	current atomic.Pointer[window]
	acked   chan struct{} // capacity 1; the reader reports the pong to the writer
	ended   chan struct{} // closed by the reader when the writer must end
	batches batches       // those that Kamailio is carrying out
	news    atomic.Bool   // the reader reports to the writer that a pong brought outcomes
	pingDue atomic.Bool   // the reader asks the writer for a ping, as it has read much

	// The fields below are the reader's.
	in    *netstring.Reader
	bytes int     // bytes that were read since pingDue was set last
	early []Event // came before the welcome
	// missed is PongEvent.Missed of the last pong, if there was one.
	missed uint64
	ponged bool
	clock  ageClock
}

// read dispatches events until the connection ends. It never waits for anything but bytes:
// a reader that stands still ends up blocking Kamailio's SIP workers.
func (s *session) read() error {
	for _, ev := range s.early {
		s.dispatch(ev)
	}
	s.early = nil
	for {
		ev, err := s.next()
		if err != nil {
			return err
		}
		if ev != nil {
			s.dispatch(ev)
		}
	}
}

// next reads one frame. The Event is nil if the method is unknown.
func (s *session) next() (Event, error) {
	payload, err := s.in.Read()
	if err != nil {
		if errors.Is(err, netstring.ErrFraming) {
			s.c.count.decodeErrors.Add(1)
		}
		return nil, fmt.Errorf("read: %w", err)
	}
	s.c.count.framesIn.Add(1)
	ev, err := DecodeEvent(payload)
	if errors.Is(err, ErrUnknownEvent) {
		s.c.count.unknownEvents.Add(1)
		return nil, nil
	}
	if err != nil {
		s.c.count.decodeErrors.Add(1)
		return nil, fmt.Errorf("decode: %w", err)
	}
	if _, answer := ev.(PongEvent); !answer {
		s.hasRead(len(payload))
	}
	s.noteTime(ev)
	return ev, nil
}

// hasRead counts bytes, and asks for a ping now and then.
func (s *session) hasRead(n int) {
	if s.bytes += n; s.bytes >= pingAfter {
		s.bytes = 0
		s.pingDue.Store(true)
		s.c.box.wake.set()
	}
}

// noteTime updates the clock, and the other figures of a pong that count at once.
func (s *session) noteTime(ev Event) {
	switch ev := ev.(type) {
	case *Message:
		ev.Age += s.clock.age(ev.sent, ev.Received)
	case *RequestEvent:
		ev.Message.Age += s.clock.age(ev.Message.sent, ev.Message.Received)
	case PongEvent:
		now := time.Now()
		if win := s.awaits(ev.ID); win != nil {
			s.clock.pong(ev.Time, now, now.Sub(win.at))
		} else {
			s.clock.age(ev.Time, now)
		}
		if s.c.memory.update(ev.Free, ev.All, time.Now()) {
			s.c.logMemory()
		}
		s.c.dropped.update(ev.Dropped)
		s.c.parked.Store(int64(ev.Parked))
	case *WelcomeEvent:
		s.clock.age(ev.Time, time.Now())
	}
}

// logMemory logs that a Kamailio's memory is short, or is not any more.
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

func (s *session) dispatch(ev Event) {
	c := s.c
	switch ev := ev.(type) {
	case *Message:
		c.count.messages.Add(1)
		ev.Conn = c
		c.handler.Message(ev)
	case *RequestEvent:
		c.count.messages.Add(1)
		ev.Message.Conn = c
		c.request(ev.Message)
	case *Receipt:
		c.count.receipts.Add(1)
		c.handler.Receipt(ev)
	case PongEvent:
		c.count.pongs.Add(1)
		if ev.Parked > 0 {
			s.news.Store(true) // the next ping lets Kamailio look at them
		}
		s.outcomes(ev.Outcomes)
		s.pong(ev.ID)
		s.missedOnes(ev.Missed)
	case ErrorEvent:
		c.count.errors.Add(1)
		s.failed(ev)
	case RegistrationsEvent:
		c.note(func(s *State) { s.Registrations = &ev })
	case Registration:
		c.count.registered.Add(1)
		ev.Conn = c
		c.handler.Registered(c, ev)
	case ContactsEvent:
		if h, ok := c.handler.(ContactsHandler); ok {
			ev.Conn = c
			h.Found(c, ev.Registration)
		}
	case GoneEvent:
		if h, ok := c.handler.(GoneHandler); ok {
			h.Gone(c, ev.Engine)
		}
	case *Call:
		c.count.calls.Add(1)
		ev.Conn = c
		c.handler.Call(ev)
	}
}

// missedOnes takes the number of registrations that Kamailio has not reported. Those before the first pong are no
// news: the handler can ask after the welcome.
func (s *session) missedOnes(n uint64) {
	if h, ok := s.c.handler.(ContactsHandler); ok && s.ponged && n != s.missed {
		h.Unheard(s.c)
	}
	s.missed, s.ponged = n, true
}

// awaits returns the window that a pong answers; nil if none does.
func (s *session) awaits(id string) *window {
	win := s.current.Load()
	if n, err := strconv.ParseUint(id, 10, 64); err != nil || win == nil || n != win.ping {
		return nil
	}
	return win
}

// pong ends the current window, if the pong is its own.
func (s *session) pong(id string) {
	if s.awaits(id) == nil {
		return
	}
	s.current.Store(nil)
	s.c.box.confirm()
	if l := s.c.link.Load(); l != nil {
		l.wake.set()
	}
	s.acked <- struct{}{} // never blocks: the writer sets a new window only after it took the last one
}

// failed turns an imc.error into the Results of its copies.
func (s *session) failed(e ErrorEvent) {
	win := s.current.Load()
	var copies []copyKey
	id, err := strconv.ParseUint(e.ID, 10, 32)
	ok := err == nil && win != nil
	if ok {
		copies, ok = win.frame(id)
	}
	if !ok {
		s.c.count.unmatched.Add(1)
		s.c.cfg.Log.Warn().Str("kamailio", s.c.cfg.Name).Str("id", cut(e.ID, 32)).Int("code", e.Code).
			Str("reason", e.Reason).Msg("Kamailio could not execute a frame")
		return
	}
	s.batches.end(uint32(id))
	code := e.Code
	if code < 300 || code > 699 {
		code = 500 // of JSON-RPC
	}
	for _, k := range copies {
		if win.failed[k] {
			continue
		}
		if win.failed == nil {
			win.failed = make(map[copyKey]bool)
		}
		win.failed[k] = true
		s.c.handler.Result(s.c, k.result(Result{Code: code, Local: true, Reason: e.Reason}))
	}
}

// outcomes reports the outcomes of copies and the ends of batches.
func (s *session) outcomes(all []Outcome) {
	for i := range all {
		o := &all[i]
		if o.CallID == "" {
			s.batches.end(o.Batch)
			continue
		}
		s.c.count.results.Add(1)
		if r, ok := s.c.forks.join(o); ok {
			s.c.handler.Result(s.c, r)
		}
	}
	if len(all) > 0 {
		s.news.Store(true)
	}
}
