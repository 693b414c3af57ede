package evapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"imcd/evapi/netstring"
)

// maxEarly bounds the events that may come between hello and welcome.
const maxEarly = 1024

// plainAfter is the time for a welcome until a hello is repeated without the engine's name.
// If Kamailio is only slow, and knows names, it ignores the second.
const plainAfter = 500 * time.Millisecond

// featureOutcomes says that outcomes come with pongs.
const featureOutcomes = "outcomes"

// Start begins to connect; it returns at once. It does nothing if the Conn has been
// started or stopped before.
func (c *Conn) Start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over || c.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	go func() {
		defer close(c.done)
		c.run(ctx)
		if c.socket != nil {
			c.socket.stop()
		}
	}()
}

// Stop closes the connection and waits until all its goroutines have ended; the Handler
// has had its Down by then. Queued frames are not written: a caller that wants them
// written waits for Stats().Queued to become 0 before. Stop may be called more than once
// and before Start, but not from a Handler's method.
func (c *Conn) Stop() {
	c.mu.Lock()
	c.over = true
	cancel := c.cancel
	c.mu.Unlock()
	if cancel == nil {
		return
	}
	cancel()
	<-c.done
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
		// While connections end soon after their start, the wait grows: two engines may be
		// taking the place from each other.
		if time.Since(began) > c.cfg.DialTimeout+c.cfg.BackoffMax {
			wait.reset()
		}
		d := wait.next()
		c.cfg.Log.Warn().Err(err).Str("kamailio", c.cfg.Name).Dur("retry_in", d).Msg("no connection to Kamailio")
		if !c.sleepRetry(ctx, d) {
			return
		}
	}
}

// Retry ends the wait before the next try to connect, if there is one: an older Kamailio may take now what it did
// not take before (Config.Plain).
func (c *Conn) Retry() {
	select {
	case c.retry <- struct{}{}:
	default:
	}
}

// sleepRetry waits for d, or until Retry; false if ctx ended before.
func (c *Conn) sleepRetry(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.retry:
	case <-ctx.Done():
		return false
	}
	return true
}

// connect makes one connection and stays until it ends.
func (c *Conn) connect(ctx context.Context) error {
	deadline := time.Now().Add(c.cfg.DialTimeout)
	d := net.Dialer{Deadline: deadline, KeepAliveConfig: keepAlive}
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
	c.wire.Store(w)
	defer c.wire.Store(nil)
	return s.serve(welcome, p)
}

// hello authenticates and returns Kamailio's welcome.
func (s *session) hello(ctx context.Context, deadline time.Time) (*WelcomeEvent, *peer, error) {
	if err := s.nc.SetDeadline(deadline); err != nil {
		return nil, nil, fmt.Errorf("hello: %w", err)
	}
	welcome, err := s.greet(ctx)
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
		st.Native = slices.Contains(welcome.Features, "native")
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

// greet says hello. imc.cfg before it knew several engines does not understand a name, and
// answers nothing; then Plain decides.
func (s *session) greet(ctx context.Context) (*WelcomeEvent, error) {
	cfg := &s.c.cfg
	if _, err := s.nc.Write(netstring.Append(nil, helloPayload(cfg.Secret, cfg.Engine))); err != nil {
		return nil, fmt.Errorf("hello: %w", err)
	}
	if cfg.Engine == "" || cfg.Plain == nil {
		return s.awaitWelcome()
	}
	welcomed, cancel := context.WithCancel(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		for Sleep(welcomed, plainAfter) {
			if cfg.Plain() {
				// A failure ends the connection, which the reader sees.
				_, _ = s.nc.Write(netstring.Append(nil, helloPayload(cfg.Secret, "")))
				return
			}
		}
	}()
	w, err := s.awaitWelcome()
	cancel()
	<-over
	return w, err
}

// awaitWelcome keeps the events that SIP workers of Kamailio send in the moment between
// the right hello and the welcome.
func (s *session) awaitWelcome() (*WelcomeEvent, error) {
	for {
		ev, err := s.next()
		if err != nil {
			return nil, welcomeError(err, s.c.cfg.Engine != "")
		}
		switch ev := ev.(type) {
		case *WelcomeEvent:
			return ev, nil
		case FullEvent:
			return nil, errors.New("hello: as many engines as Kamailio has places for are connected to it")
		}
		if len(s.early) >= maxEarly {
			return nil, fmt.Errorf("hello: %d events and no welcome", maxEarly)
		}
		if ev != nil {
			s.early = append(s.early, ev)
		}
	}
}

// welcomeError adds the usual reasons for silence after a hello.
func welcomeError(err error, named bool) error {
	switch {
	case !errors.Is(err, os.ErrDeadlineExceeded):
	case named:
		return fmt.Errorf("no welcome from Kamailio, the secret may be wrong, or this imcd has no rooms and "+
			"imc.cfg is older: %w", err)
	default:
		return fmt.Errorf("no welcome from Kamailio, the secret may be wrong: %w", err)
	}
	return fmt.Errorf("await welcome of Kamailio: %w", err)
}

// serve reads until the connection ends, and then accounts for all unconfirmed copies.
func (s *session) serve(welcome *WelcomeEvent, p *peer) error {
	c := s.c
	n := c.count.welcomes.Add(1)
	c.cfg.Log.Info().Str("kamailio", c.cfg.Name).Str("version", welcome.Version).
		Int64("gen", welcome.Gen).Uint64("connection", n).Stringer("fanout", p.fanout()).Msg("connected to Kamailio")
	if want := c.cfg.Fanout; want != LaneAuto && want != p.fanout() {
		c.cfg.Log.Warn().Str("kamailio", c.cfg.Name).Stringer("wanted", want).Stringer("fanout", p.fanout()).
			Msg("the include does not offer the fanout that is configured")
	}
	c.logTopos(toposOf(welcome.Features))
	// The welcome of an older imc.cfg has no Start; Gen begins at 1 again after a restart, but
	// other engines' hellos may have moved it further since.
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
	p.contacts = slices.Contains(welcome.Features, featureContacts)
	p.htable = slices.Contains(welcome.Features, featureHtable)
	p.fleet = slices.Contains(welcome.Features, featureFleet) && c.cfg.Engine != ""
	p.peers = p.fleet && slices.Contains(welcome.Features, featurePeers)
	c.box.open(p)
	welcome.Conn = c
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

// logTopos logs a change.
func (c *Conn) logTopos(is Topos) {
	if is == c.lastTopos {
		return
	}
	c.lastTopos = is
	switch is {
	case ToposKept:
		c.cfg.Log.Info().Str("kamailio", c.cfg.Name).
			Msg("topos is loaded in Kamailio: imc.cfg keeps MESSAGE outside of dialogs from it")
	case ToposOwn:
		c.cfg.Log.Warn().Str("kamailio", c.cfg.Name).
			Msg("topos is loaded in Kamailio, and imc.cfg leaves MESSAGE to it: rooms do not work with that")
	}
}

// down reports every copy that was queued or in an unconfirmed frame, then the end.
func (s *session) down(err error) {
	c := s.c
	r := Result{Code: 503, Local: true, Reason: "connection to Kamailio lost: " + err.Error()}
	queued := c.box.close()
	if l := c.link.Swap(nil); l != nil {
		queued = append(queued, l.pause()...)
	}
	if win := s.current.Swap(nil); win != nil {
		for _, k := range win.copies {
			if !win.failed[k] {
				c.handler.Result(c, k.result(r))
			}
		}
	}
	for _, k := range queued {
		c.handler.Result(c, k.result(r))
	}
	c.handler.Down(c, err)
	c.drained()
}
