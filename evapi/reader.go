package evapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"imcd/evapi/netstring"
)

// maxEarly bounds the events that may come between hello and welcome.
const maxEarly = 1024

// featureOutcomes says that outcomes come with pongs.
const featureOutcomes = "outcomes"

// featureOwn says that imc.cfg's own answers to copies can be told from devices': see ownHeader.
const featureOwn = "own"

// session is one connection, from hello to its end.
type session struct {
	c  *Conn
	nc *wireConn
	in *netstring.Reader // used by the reader only

	// current is the window whose pong is awaited. The writer sets it before
	// it writes; the reader takes it away at the pong, and at the end.
	current atomic.Pointer[window]
	acked   chan struct{} // capacity 1; the reader tells the writer of the pong
	ended   chan struct{} // closed by the reader when the writer must end
	batches batches       // that Kamailio carries out
	news    atomic.Bool   // the reader tells the writer that a pong brought outcomes
	pingDue atomic.Bool   // the reader tells the writer that Kamailio is to hear of what was read
	bytes   int           // bytes that were read since then; the reader's
	early   []Event       // came before the welcome; the reader's
	clock   ageClock      // the reader's
}

// run connects again and again until ctx ends.
func (c *Conn) run(ctx context.Context) {
	wait := backoff{min: c.cfg.BackoffMin, max: c.cfg.BackoffMax}
	for {
		began := time.Now()
		err := c.connect(ctx)
		if ctx.Err() != nil {
			return
		}
		c.note(func(s *State) { s.Err = err })
		// A connection that ends soon, again and again, must not be made again
		// and again at once: two engines may be taking the place from each other.
		if time.Since(began) > c.cfg.DialTimeout+c.cfg.BackoffMax {
			wait.reset()
		}
		d := wait.next()
		c.cfg.Log.Warn().Err(err).Str("kamailio", c.cfg.Name).Dur("retry_in", d).Msg("no connection to Kamailio")
		if !sleep(ctx, d) {
			return
		}
	}
}

// connect makes one connection and stays until it ends.
func (c *Conn) connect(ctx context.Context) error {
	deadline := time.Now().Add(c.cfg.DialTimeout)
	d := net.Dialer{Deadline: deadline}
	nc, err := d.DialContext(ctx, "tcp", c.cfg.Addr)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer nc.Close()
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()

	w := newWireConn(nc, 0)
	s := &session{c: c, nc: w, in: netstring.NewReader(w, maxInbound),
		acked: make(chan struct{}, 1), ended: make(chan struct{})}
	welcome, p, err := s.hello(ctx, deadline)
	if err != nil {
		return err
	}
	w.idle = c.cfg.DeadAfter
	return s.serve(welcome, p)
}

// hello authenticates and returns what Kamailio says of itself.
func (s *session) hello(ctx context.Context, deadline time.Time) (*WelcomeEvent, *peer, error) {
	if err := s.nc.SetDeadline(deadline); err != nil {
		return nil, nil, fmt.Errorf("hello: %w", err)
	}
	if _, err := s.nc.Write(netstring.Append(nil, helloPayload(s.c.cfg.Secret))); err != nil {
		return nil, nil, fmt.Errorf("hello: %w", err)
	}
	welcome, err := s.awaitWelcome()
	if err != nil {
		return nil, nil, err
	}
	if welcome.Role != RoleEngine {
		return nil, nil, fmt.Errorf("hello: the secret is that of role %.32q, not the engine's", welcome.Role)
	}
	nextHop := welcome.NextHop
	if s.c.cfg.NextHop != "" {
		nextHop = s.c.cfg.NextHop
	}
	s.c.note(func(st *State) {
		st.OwnHop, st.NextHop, st.Topos = welcome.NextHop, nextHop, toposOf(welcome.Features)
	})
	p, err := newPeer(nextHop, welcome.HeaderSecret)
	if err != nil {
		return nil, nil, fmt.Errorf("welcome: %w", err)
	}
	if !slices.Contains(welcome.Features, featureOutcomes) {
		return nil, nil, errors.New("welcome: imc.cfg at Kamailio is of another version than imcd")
	}
	s.chooseLane(ctx, p, welcome)
	if err := s.nc.SetDeadline(time.Time{}); err != nil {
		return nil, nil, fmt.Errorf("hello: %w", err)
	}
	return welcome, p, nil
}

// awaitWelcome keeps what a SIP worker of Kamailio sends in the moment between
// the right hello and the welcome.
func (s *session) awaitWelcome() (*WelcomeEvent, error) {
	for {
		ev, err := s.next()
		if err != nil {
			return nil, welcomeError(err)
		}
		if w, ok := ev.(*WelcomeEvent); ok {
			return w, nil
		}
		if len(s.early) >= maxEarly {
			return nil, fmt.Errorf("hello: %d events and no welcome", maxEarly)
		}
		if ev != nil {
			s.early = append(s.early, ev)
		}
	}
}

// welcomeError says what silence after a hello mostly means.
func welcomeError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("no welcome from Kamailio, the secret may be wrong: %w", err)
	}
	return fmt.Errorf("await welcome of Kamailio: %w", err)
}

// serve reads until the connection ends, and then accounts for everything that
// was not confirmed.
func (s *session) serve(welcome *WelcomeEvent, p *peer) error {
	c := s.c
	n := c.count.welcomes.Add(1)
	c.cfg.Log.Info().Str("kamailio", c.cfg.Name).Str("version", welcome.Version).
		Int64("gen", welcome.Gen).Uint64("connection", n).Stringer("fanout", p.fanout()).Msg("connected to Kamailio")
	if want := c.cfg.Fanout; want != LaneAuto && want != p.fanout() {
		c.cfg.Log.Warn().Str("kamailio", c.cfg.Name).Stringer("wanted", want).Stringer("fanout", p.fanout()).
			Msg("the include does not offer the fanout that is configured")
	}
	c.sayTopos(welcome.Features)
	// An imc.cfg that is older does not say when it started; its numbers begin at 1 again then, but may have
	// come further since, by somebody else's hellos.
	welcome.Restarted = n > 1 && (welcome.Start != c.lastStart || welcome.Gen <= c.lastGen)
	c.lastGen, c.lastStart = welcome.Gen, welcome.Start
	if welcome.Restarted {
		c.forks = forks{}
		if c.socket != nil {
			c.socket.forget()
		}
	}
	if p.bySIP {
		c.useLink()
	}
	c.box.open(p)
	c.handler.Up(c, welcome.Welcome)
	w := newWriter(s, p)
	written := make(chan error, 1)
	go func() {
		err := w.run()
		s.nc.Close() // ends the reader, if it was not the first to end
		written <- err
	}()

	ctx, cancel := context.WithCancel(context.Background())
	keeping := s.keepLink(ctx, welcome, p)
	err := s.read()
	cancel()
	close(s.ended)
	s.nc.Close()
	<-keeping
	if werr := <-written; werr != nil {
		err = werr // the cause: the reader only saw the connection closed
	}
	s.down(err)
	return err
}

// down reports every copy that was queued or under way, then the end.
func (s *session) down(err error) {
	c := s.c
	r := Result{Code: 503, Local: true, Reason: "connection to Kamailio lost: " + err.Error()}
	queued := c.box.close()
	if l := c.link.Swap(nil); l != nil {
		queued = append(queued, l.pause()...)
	}
	if win := s.current.Swap(nil); win != nil {
		for _, r.CallID = range win.callIDs {
			if !win.failed[r.CallID] {
				c.handler.Result(c, r)
			}
		}
	}
	for _, r.CallID = range queued {
		c.handler.Result(c, r)
	}
	c.handler.Down(c, err)
	c.drained()
}

// read dispatches events until the connection ends. It never waits for anything
// but bytes: a reader that stands still ends up blocking Kamailio's SIP workers.
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

// next reads one frame. The Event is nil for a method that is not known.
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
	s.tellTime(ev)
	return ev, nil
}

// hasRead has Kamailio pinged when there was much to read since the last time.
func (s *session) hasRead(n int) {
	if s.bytes += n; s.bytes >= pingAfter {
		s.bytes = 0
		s.pingDue.Store(true)
		s.c.box.ring()
	}
}

// tellTime takes what an event says of Kamailio's clock.
func (s *session) tellTime(ev Event) {
	switch ev := ev.(type) {
	case *Message:
		ev.Age = s.clock.age(ev.sent, ev.Received)
	case PongEvent:
		if now, win := time.Now(), s.awaits(ev.ID); win != nil {
			s.clock.pong(ev.Time, now, now.Sub(win.at))
		} else {
			s.clock.age(ev.Time, now)
		}
		if s.c.memory.tell(ev.Free, ev.All, time.Now()) {
			s.c.logMemory()
		}
		s.c.dropped.tell(ev.Dropped)
	case *WelcomeEvent:
		s.clock.age(ev.Time, time.Now())
	}
}

func (s *session) dispatch(ev Event) {
	c := s.c
	switch ev := ev.(type) {
	case *Message:
		c.count.messages.Add(1)
		ev.Conn = c
		c.handler.Message(ev)
	case *Receipt:
		c.count.receipts.Add(1)
		c.handler.Receipt(ev)
	case PongEvent:
		c.count.pongs.Add(1)
		s.outcomes(ev.Outcomes)
		s.pong(ev.ID)
	case ErrorEvent:
		c.count.errors.Add(1)
		s.failed(ev)
	case RegistrationsEvent:
		c.note(func(s *State) { s.Registrations = &ev })
	case RegisteredEvent:
		c.count.registered.Add(1)
		c.handler.Registered(c, ev.AOR)
	case *Call:
		c.count.calls.Add(1)
		ev.Conn = c
		c.handler.Call(ev)
	}
}

// awaits returns the window that a pong answers; nil if none does.
func (s *session) awaits(id string) *window {
	win := s.current.Load()
	if n, err := strconv.ParseUint(id, 10, 64); err != nil || win == nil || n != win.ping {
		return nil
	}
	return win
}

// pong ends the current window, if it is that window's.
func (s *session) pong(id string) {
	if s.awaits(id) == nil {
		return
	}
	s.current.Store(nil)
	s.c.box.confirm()
	if l := s.c.link.Load(); l != nil {
		l.ring()
	}
	s.acked <- struct{}{} // has room: the writer sets a new window only after it took the last one
}

// failed turns an imc.error into the Result of its copy.
func (s *session) failed(e ErrorEvent) {
	win := s.current.Load()
	var callIDs []string
	id, err := strconv.ParseUint(e.ID, 10, 32)
	ok := err == nil && win != nil
	if ok {
		callIDs, ok = win.frame(id)
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
	for _, callID := range callIDs {
		if win.failed[callID] {
			continue
		}
		if win.failed == nil {
			win.failed = make(map[string]bool)
		}
		win.failed[callID] = true
		s.c.handler.Result(s.c, Result{CallID: callID, Code: code, Local: true, Reason: e.Reason})
	}
}

// outcomes tells what has become of copies.
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
