package kamailiocfg_test

import (
	"cmp"
	"context"
	"sync"
	"testing"
	"time"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// standIn stands in for imcd: it pings, answers every request for a room with 202, and
// keeps all events for the test.
type standIn struct {
	name    string // that of an engine; may be empty
	peer    *evapitest.Peer
	welcome evapitest.Event
	endPing func() // ends the pings, and waits for that

	mu     sync.Mutex
	silent bool              // it does not answer; guarded by mu
	events []evapitest.Event // guarded by mu
	change chan struct{}     // closed and replaced with every event; guarded by mu
}

func startStandIn(t *testing.T, k *evapitest.Kamailio) *standIn {
	t.Helper()
	return startEngine(t, k, "")
}

// startEngine starts a stand-in with the name of an engine, which it gives as the reason of its answers.
func startEngine(t *testing.T, k *evapitest.Kamailio, name string) *standIn {
	t.Helper()
	secret := k.Secret()
	if name != "" {
		secret += " " + name
	}
	peer, welcome := hello(t, k, secret)
	s := &standIn{name: name, peer: peer, welcome: welcome, change: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	pingCtx, endPing := context.WithCancel(ctx)
	var pings, wg sync.WaitGroup
	pings.Go(func() { s.ping(pingCtx) })
	s.endPing = func() {
		endPing()
		pings.Wait()
	}
	wg.Go(func() { s.run(ctx) })
	t.Cleanup(func() {
		cancel()
		s.endPing()
		wg.Wait()
	})
	return s
}

// rests ends the pings, by which Kamailio counts and looks after requests, and returns the last pong.
func (s *standIn) rests(t *testing.T) evapitest.Event {
	t.Helper()
	s.endPing()
	send(t, s.peer, call("imc.ping", "last"))
	for n := 1; ; n++ {
		if pong := s.wait(t, "imc.pong", n)[n-1]; pong.Params["id"] == "last" {
			return pong
		}
	}
}

func (s *standIn) ping(ctx context.Context) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if s.peer.Send(call("imc.ping", "beat")) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (s *standIn) run(ctx context.Context) {
	for {
		ev, err := s.peer.Next(ctx)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.events = append(s.events, ev)
		close(s.change)
		s.change = make(chan struct{})
		silent := s.silent
		s.mu.Unlock()
		if (ev.Method == "imc.message" || ev.Method == "imc.request") && !silent && s.peer.Send(s.accepts(ev)) != nil {
			return
		}
	}
}

// accepts is the answer to a message.
func (s *standIn) accepts(ev evapitest.Event) string {
	return reply(ev, "202", "1", "0", cmp.Or(s.name, "Accepted"))
}

// falls lets the stand-in be silent, or not any more.
func (s *standIn) falls(silent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = silent
}

// seen are the events of one method so far.
func (s *standIn) seen(method string) (events []evapitest.Event, change <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ev := range s.events {
		if ev.Method == method {
			events = append(events, ev)
		}
	}
	return events, s.change
}

// wait waits until n events of the method have come and returns them.
func (s *standIn) wait(t *testing.T, method string, n int) []evapitest.Event {
	t.Helper()
	ctx := kit.Context(t)
	for {
		events, change := s.seen(method)
		if len(events) >= n {
			return events
		}
		select {
		case <-change:
		case <-ctx.Done():
			t.Fatalf("%d events %s, want %d", len(events), method, n)
		}
	}
}

// copyTo sends one copy as imcd does.
func (s *standIn) copyTo(t *testing.T, to, callID, body string) {
	t.Helper()
	send(t, s.peer, copyFrame(s.header(t), unb64(t, s.welcome.Params["next_hop"]), to, callID, body))
}

func (s *standIn) header(t *testing.T) string { return unb64(t, s.welcome.Params["header"]) }
