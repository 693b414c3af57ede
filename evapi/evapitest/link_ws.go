package evapitest

import (
	"net"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// wsLink is a WebSocket connection to the proxy (RFC 7118), opened again when it was
// lost.
type wsLink struct {
	local   string // IP
	proxy   string
	receive func([]byte)
	gone    chan struct{} // closed by close
	read    sync.WaitGroup

	mu   sync.Mutex
	conn *websocket.Conn // nil: lost; guarded by mu
	last string          // local address of the last conn; guarded by mu
	shut bool            // guarded by mu
}

func openWS(local, proxy string, receive func([]byte)) (link, error) {
	l := &wsLink{local: local, proxy: proxy, receive: receive, gone: make(chan struct{})}
	return l, l.connect()
}

func (l *wsLink) connect() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dialIfLost()
}

// dialIfLost opens the connection if there is none. The caller holds mu.
func (l *wsLink) dialIfLost() error {
	if l.shut {
		return ErrClosed
	}
	if l.conn != nil {
		return nil
	}
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(l.local)}}
	d := websocket.Dialer{
		NetDialContext:   from.DialContext,
		HandshakeTimeout: 5 * time.Second,
		Subprotocols:     []string{"sip"},
	}
	conn, res, err := d.Dial("ws://"+l.proxy, nil)
	if err != nil {
		return err
	}
	res.Body.Close()
	l.conn, l.last = conn, conn.LocalAddr().String()
	l.read.Add(1)
	go l.run(conn)
	return nil
}

func (l *wsLink) run(conn *websocket.Conn) {
	defer l.read.Done()
	for {
		_, data, err := conn.ReadMessage()
		if err != nil {
			break
		}
		if len(data) > 4 { // keep-alives
			l.receive(data)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	conn.Close()
	if l.conn == conn {
		l.conn = nil
	}
}

func (l *wsLink) send(data []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.dialIfLost(); err != nil {
		return err
	}
	return l.conn.WriteMessage(websocket.TextMessage, data)
}

func (l *wsLink) hangup() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		return nil
	}
	// The connection is closed without a closing frame.
	err := l.conn.Close()
	l.conn = nil
	return err
}

func (l *wsLink) localAddr() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

func (l *wsLink) reliable() bool          { return true }
func (l *wsLink) closed() <-chan struct{} { return l.gone }

func (l *wsLink) close() error {
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
