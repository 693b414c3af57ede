package phones

import (
	"io"
	"net"
	"sync"
	"testing"
)

// cable is a way of TCP connections to a server that can be cut: what a phone loses
// when it changes its network.
type cable struct {
	listener net.Listener
	dialer   net.Dialer
	target   string
	all      sync.WaitGroup // goroutines

	mu    sync.Mutex
	conns map[net.Conn]bool // both ends of all; guarded by mu
	whole chan struct{}     // closed while connections pass; guarded by mu
	shut  bool              // guarded by mu
}

// newCable is a cable to the target, a host and port.
func newCable(t *testing.T, target string) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{listener: l, target: target, conns: make(map[net.Conn]bool), whole: make(chan struct{})}
	close(c.whole)
	// Every phone has an address of its own. Kamailio knows a connection by address and
	// port of the other end, and two from one address, to two ports of Kamailio, may have
	// one port there.
	port := l.Addr().(*net.TCPAddr).Port
	c.dialer.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, byte(port>>8), byte(port), 1)}
	c.all.Go(c.accept)
	t.Cleanup(c.close)
	return c
}

// addr is where the phone connects to.
func (c *cable) addr() string { return c.listener.Addr().String() }

// cut closes all connections, at both ends. New ones come into being, as far as the
// phone can see, but nothing passes before the cable is mended.
func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.whole = make(chan struct{})
	for conn := range c.conns {
		conn.Close()
	}
}

func (c *cable) mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.whole)
}

func (c *cable) close() {
	c.mu.Lock()
	c.shut = true
	select {
	case <-c.whole:
	default:
		close(c.whole)
	}
	for conn := range c.conns {
		conn.Close()
	}
	c.mu.Unlock()
	c.listener.Close()
	c.all.Wait()
}

func (c *cable) accept() {
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			return
		}
		c.all.Go(func() { c.carry(conn) })
	}
}

// carry connects a phone's connection with the server.
func (c *cable) carry(phone net.Conn) {
	if !c.keep(phone) {
		return
	}
	defer c.drop(phone)
	c.mu.Lock()
	whole := c.whole
	c.mu.Unlock()
	<-whole
	server, err := c.dialer.Dial("tcp", c.target)
	if err != nil || !c.keep(server) {
		return
	}
	defer c.drop(server)
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(phone, server) // ends with either of them
		phone.Close()
	})
	_, _ = io.Copy(server, phone)
	server.Close()
	back.Wait()
}

// keep remembers a connection; false if the cable is closed.
func (c *cable) keep(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shut {
		conn.Close()
		return false
	}
	c.conns[conn] = true
	return true
}

func (c *cable) drop(conn net.Conn) {
	conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, conn)
}
