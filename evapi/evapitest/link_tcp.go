package evapitest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// tcpMaxMessage bounds a message read from a TCP connection, in bytes.
const tcpMaxMessage = 1 << 20

// tcpLink is a TCP or TLS connection to the proxy, opened again when it was lost.
type tcpLink struct {
	local   string // IP
	proxy   string
	tls     *tls.Config // nil: TCP
	receive func([]byte)
	gone    chan struct{} // closed by close
	read    sync.WaitGroup

	mu   sync.Mutex
	conn net.Conn // nil: lost; guarded by mu
	last string   // local address of the last conn; guarded by mu
	shut bool     // guarded by mu
}

func openTCP(local, proxy string, conf *tls.Config, receive func([]byte)) (link, error) {
	l := &tcpLink{local: local, proxy: proxy, tls: conf, receive: receive, gone: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.dial(); err != nil {
		return nil, err
	}
	return l, nil
}

// dial opens the connection. The caller holds mu.
func (l *tcpLink) dial() error {
	d := &net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(l.local)}}
	var conn net.Conn
	var err error
	if l.tls == nil {
		conn, err = d.Dial("tcp", l.proxy)
	} else {
		conn, err = tls.DialWithDialer(d, "tcp", l.proxy, l.tls)
	}
	if err != nil {
		return err
	}
	l.conn, l.last = conn, conn.LocalAddr().String()
	l.read.Add(1)
	go l.run(conn)
	return nil
}

func (l *tcpLink) run(conn net.Conn) {
	defer l.read.Done()
	r := bufio.NewReaderSize(conn, 65536)
	for {
		data, err := readMessage(r)
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

func (l *tcpLink) send(data []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.dialIfLost(); err != nil {
		return err
	}
	_, err := l.conn.Write(data)
	return err
}

// dialIfLost opens the connection if there is none. The caller holds mu.
func (l *tcpLink) dialIfLost() error {
	if l.shut {
		return ErrClosed
	}
	if l.conn != nil {
		return nil
	}
	return l.dial()
}

func (l *tcpLink) connect() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dialIfLost()
}

func (l *tcpLink) hangup() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		return nil
	}
	err := l.conn.Close()
	l.conn = nil
	return err
}

func (l *tcpLink) localAddr() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

func (l *tcpLink) reliable() bool          { return true }
func (l *tcpLink) closed() <-chan struct{} { return l.gone }

func (l *tcpLink) close() error {
	l.mu.Lock()
	if !l.shut {
		l.shut = true
		close(l.gone)
		if l.conn != nil {
			l.conn.Close()
		}
	}
	l.mu.Unlock()
	l.read.Wait()
	return nil
}

// readMessage reads one SIP message from a stream, framed by Content-Length.
func readMessage(r *bufio.Reader) ([]byte, error) {
	var b bytes.Buffer
	length := 0
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		if b.Len() == 0 && len(bytes.TrimSpace(line)) == 0 {
			continue // keep-alive between messages
		}
		b.Write(line)
		if len(bytes.TrimSpace(line)) == 0 {
			break
		}
		name, value, ok := strings.Cut(string(line), ":")
		if ok && isContentLength(name) {
			length, err = strconv.Atoi(strings.TrimSpace(value))
			if err != nil || length < 0 || length > tcpMaxMessage {
				return nil, fmt.Errorf("bad Content-Length %q", value)
			}
		}
		if b.Len() > tcpMaxMessage {
			return nil, fmt.Errorf("headers of more than %d bytes", tcpMaxMessage)
		}
	}
	if _, err := io.CopyN(&b, r, int64(length)); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func isContentLength(name string) bool {
	name = strings.TrimSpace(name)
	return strings.EqualFold(name, "Content-Length") || strings.EqualFold(name, "l")
}
