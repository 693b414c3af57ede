package schema

import (
	"context"
	"net"
	"sync"
	"time"
)

// How long a connection lives on after the context of its call has ended: lib/pq asks the
// server to cancel the call, and a frozen server does not answer that. If a slow one answers too late, the outcome of
// the call is not known, and is asked for.
const (
	cancelGrace = 200 * time.Millisecond // until the call's own connection fails
	// cancelLimit is for the connection that carries the request to cancel. lib/pq waits for its end, so a call at a
	// frozen server takes that much longer, and all senders wait for the next one.
	cancelLimit = 500 * time.Millisecond
)

// silentLimit is how long sent data may stay unacknowledged before the system gives the
// connection up: the host or the network may be gone.
const silentLimit = time.Second

// socket is the dialer of one connection: it knows the TCP connection under it.
type socket struct {
	net.Dialer

	mu   sync.Mutex
	main net.Conn // the connection itself
	up   bool     // later dials are for cancel requests
}

// DialTimeout implements pq.Dialer.
func (s *socket) DialTimeout(network, addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.DialContext(ctx, network, addr)
}

// DialContext implements pq.DialerContext.
func (s *socket) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	s.mu.Lock()
	up := s.up
	s.mu.Unlock()
	if up {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cancelLimit)
		defer cancel()
	}
	c, err := s.Dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if up {
		return c, c.SetDeadline(time.Now().Add(cancelLimit))
	}
	giveUpSilent(c)
	s.mu.Lock()
	s.main = c
	s.mu.Unlock()
	if ctx.Err() != nil { // ended before there was something to end
		s.end(0)
	}
	return c, nil
}

func (s *socket) established() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up = true
}

// end makes reads and writes fail from grace on.
func (s *socket) end(grace time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.main != nil {
		_ = s.main.SetDeadline(time.Now().Add(grace)) // fails only if closed already
	}
}
