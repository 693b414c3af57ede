package schematest

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy stands between clients and a server, as a network does, and can fail as one does. It knows
// nothing of PostgreSQL's messages; see Cutter for faults at a chosen moment.
type Proxy struct {
	server string
	listen net.Listener
	all    sync.WaitGroup
	ctx    context.Context // done at the end of the test

	mu     sync.Mutex
	mode   proxyMode
	delay  time.Duration         // of each piece that is passed; by mu
	change chan struct{}         // closed and replaced when mode or delay changes; by mu
	conns  map[net.Conn]struct{} // by mu
}

type proxyMode int

const (
	passes proxyMode = iota
	holds
	resets
)

// NewProxy starts a Proxy for one test. It passes everything on.
func NewProxy(t testing.TB, pg *Postgres) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &Proxy{server: pg.addr(), listen: l, ctx: ctx, conns: make(map[net.Conn]struct{}),
		change: make(chan struct{})}
	p.all.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close() // once
		stop()
		p.endAll()
		p.all.Wait()
	})
	return p
}

func (p *Proxy) addr() string { return p.listen.Addr().String() }

// Pass passes on what was held and everything from now on, each piece after a delay, which may be 0.
func (p *Proxy) Pass(delay time.Duration) { p.set(passes, delay) }

// Hold swallows everything, as a network that has been cut: connections stay open, new ones are not
// answered, and not even an end arrives. What is sent meanwhile arrives after Pass.
func (p *Proxy) Hold() { p.set(holds, 0) }

// Reset ends all connections, and each new one at once.
func (p *Proxy) Reset() {
	p.set(resets, 0)
	p.endAll()
}

func (p *Proxy) set(mode proxyMode, delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode, p.delay = mode, delay
	close(p.change)
	p.change = make(chan struct{})
}

// endAll resets all connections.
func (p *Proxy) endAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		reset(conn)
	}
}

func reset(conn net.Conn) {
	_ = conn.(*net.TCPConn).SetLinger(0) // it may be closed already
	_ = conn.Close()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listen.Accept()
		if err != nil {
			return // closed
		}
		p.all.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	if !p.keep(client) {
		return
	}
	defer p.forget(client)
	if !p.wait() {
		return
	}
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		return // as a server that is away
	}
	if !p.keep(server) {
		return
	}
	defer p.forget(server)
	var both sync.WaitGroup
	both.Go(func() { p.pass(client, server) })
	p.pass(server, client)
	both.Wait()
}

// pass hands on what one side says until it ends, and then its end.
func (p *Proxy) pass(to, from net.Conn) {
	piece := make([]byte, 64<<10)
	for {
		n, err := from.Read(piece)
		if !p.wait() {
			return
		}
		if n > 0 {
			if _, err := to.Write(piece[:n]); err != nil {
				_ = from.Close() // nobody listens any more
				return
			}
		}
		if err != nil {
			_ = to.Close()
			return
		}
	}
}

// wait returns when something may pass; false: the test is over.
func (p *Proxy) wait() bool {
	for {
		p.mu.Lock()
		mode, delay, change := p.mode, p.delay, p.change
		p.mu.Unlock()
		if mode == holds {
			select {
			case <-change:
				continue
			case <-p.ctx.Done():
				return false
			}
		}
		if delay > 0 {
			select {
			case <-time.After(delay):
			case <-p.ctx.Done():
			}
		}
		return p.ctx.Err() == nil
	}
}

// keep lets Reset and the test's end find conn, and reports whether it may live.
func (p *Proxy) keep(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode == resets || p.ctx.Err() != nil {
		reset(conn)
		return false
	}
	p.conns[conn] = struct{}{}
	return true
}

func (p *Proxy) forget(conn net.Conn) {
	_ = conn.Close() // maybe again
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
}
