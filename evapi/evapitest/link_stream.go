package evapitest

import (
	"net"
	"sync"
	"time"
)

// wire is one connection that carries whole SIP messages.
type wire interface {
	read() ([]byte, error) // the next message, which may be kept; an error ends the connection
	write(data []byte) error
	Close() error
	LocalAddr() net.Addr
}

// streamLink is a connection to the proxy, opened again when it was lost.
type streamLink struct {
	open    func() (wire, error)
	receive func([]byte)
	gone    chan struct{} // closed by close
	readers sync.WaitGroup

	mu   sync.Mutex
	conn wire   // nil: lost; guarded by mu
	last string // local address of the last conn; guarded by mu
	shut bool   // guarded by mu
}

func openStream(open func() (wire, error), receive func([]byte)) (link, error) {
	l := &streamLink{open: open, receive: receive, gone: make(chan struct{})}
	return l, l.connect()
}

// dialer dials from an IP address.
func dialer(local string) *net.Dialer {
	return &net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}
}

func (l *streamLink) connect() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dialIfLost()
}

// dialIfLost opens the connection if there is none. The caller holds mu.
func (l *streamLink) dialIfLost() error {
	if l.shut {
		return ErrClosed
	}
	if l.conn != nil {
		return nil
	}
	conn, err := l.open()
	if err != nil {
		return err
	}
	l.conn, l.last = conn, conn.LocalAddr().String()
	l.readers.Go(func() { l.run(conn) })
	return nil
}

func (l *streamLink) run(conn wire) {
	for {
		data, err := conn.read()
		if err != nil {
			break
		}
		l.receive(data)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	conn.Close()
	if l.conn == conn {
		l.conn = nil
	}
}

func (l *streamLink) send(data []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.dialIfLost(); err != nil {
		return err
	}
	return l.conn.write(data)
}

func (l *streamLink) hangup() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		return nil
	}
	err := l.conn.Close()
	l.conn = nil
	return err
}

func (l *streamLink) localAddr() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

func (l *streamLink) reliable() bool          { return true }
func (l *streamLink) closed() <-chan struct{} { return l.gone }

func (l *streamLink) close() error {
	l.mu.Lock()
	if !l.shut {
		l.shut = true
		close(l.gone)
		if l.conn != nil {
			l.conn.Close()
		}
	}
	l.mu.Unlock()
	l.readers.Wait()
	return nil
}
