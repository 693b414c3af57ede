package evapitest

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"sync"
)

// link is a user agent's way to its proxy. receive, given when it is opened, is
// called by its reader for each message, one after the other, with bytes that it
// may keep.
type link interface {
	send(data []byte) error
	localAddr() string
	reliable() bool // no retransmissions
	closed() <-chan struct{}
	connect() error // makes sure that there is a connection
	hangup() error  // closes the connection, until something is sent
	close() error   // waits for the reader
}

// udpLink is one UDP socket.
type udpLink struct {
	conn  *net.UDPConn
	proxy *net.UDPAddr
	via   bool          // UAConfig.AnswerVia
	gone  chan struct{} // closed by close
	once  sync.Once
	read  sync.WaitGroup
}

func openUDP(local, proxy string, via bool, receive func([]byte)) (link, error) {
	addr, err := net.ResolveUDPAddr("udp", proxy)
	if err != nil {
		return nil, err
	}
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(local)})
	if err != nil {
		return nil, err
	}
	// Bursts of a big room's messages; the kernel may give less.
	_ = conn.SetReadBuffer(4 << 20)
	l := &udpLink{conn: conn, proxy: addr, via: via, gone: make(chan struct{})}
	l.read.Add(1)
	go l.run(receive)
	return l, nil
}

func (l *udpLink) run(receive func([]byte)) {
	defer l.read.Done()
	buf := make([]byte, 65536)
	for {
		n, _, err := l.conn.ReadFromUDP(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n <= 4 {
			continue // ICMP errors of what was sent; keep-alives
		}
		receive(append([]byte(nil), buf[:n]...))
	}
}

func (l *udpLink) send(data []byte) error {
	to := l.proxy
	if l.via {
		if addr, ok := responseTo(data); ok {
			to = net.UDPAddrFromAddrPort(addr)
		}
	}
	_, err := l.conn.WriteToUDP(data, to)
	return err
}

// responseTo is the address in the first Via of a response. False: it is no response, or names no address.
func responseTo(data []byte) (addr netip.AddrPort, ok bool) {
	const via = "\r\nVia: SIP/2.0/UDP "
	i := bytes.Index(data, []byte(via))
	if i < 0 || !bytes.HasPrefix(data, []byte("SIP/2.0 ")) {
		return addr, false
	}
	sentBy, _, _ := bytes.Cut(data[i+len(via):], []byte(";"))
	addr, err := netip.ParseAddrPort(string(sentBy))
	return addr, err == nil
}

func (l *udpLink) localAddr() string       { return l.conn.LocalAddr().String() }
func (l *udpLink) reliable() bool          { return false }
func (l *udpLink) closed() <-chan struct{} { return l.gone }
func (l *udpLink) connect() error          { return nil }
func (l *udpLink) hangup() error           { return nil }

func (l *udpLink) close() error {
	var err error
	l.once.Do(func() {
		close(l.gone)
		err = l.conn.Close()
	})
	l.read.Wait()
	return err
}
