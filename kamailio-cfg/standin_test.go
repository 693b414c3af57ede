package kamailiocfg_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// standIn stands in for imcd: it pings, answers every room message with 202, and
// keeps all events for the test.
type standIn struct {
	peer    *evapitest.Peer
	welcome evapitest.Event

	mu     sync.Mutex
	events []evapitest.Event // guarded by mu
	change chan struct{}     // closed and replaced with every event; guarded by mu
}

func startStandIn(t *testing.T, k *evapitest.Kamailio) *standIn {
	t.Helper()
	peer, welcome := hello(t, k, k.Secret())
	s := &standIn{peer: peer, welcome: welcome, change: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.ping(ctx) })
	wg.Go(func() { s.run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return s
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
		s.mu.Unlock()
		if ev.Method == "imc.message" && s.peer.Send(reply(ev, "202", "1", "0", "Accepted")) != nil {
			return
		}
	}
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
