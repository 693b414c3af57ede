package evapi

import (
	"net"
	"syscall"
	"time"
)

// wireConn is a connection to Kamailio that is read at once and must not fall
// silent. Kamailio does not switch Nagle's algorithm off, so its small frames
// would wait for our delayed acknowledgement, some 40 ms each.
type wireConn struct {
	net.Conn
	idle   time.Duration   // a Read without bytes for so long fails; 0: never
	raw    syscall.RawConn // nil if it is no TCP connection
	ackNow func(fd uintptr)
}

// newWireConn wraps nc. TCP_NODELAY is Go's default.
func newWireConn(nc net.Conn, idle time.Duration) *wireConn {
	w := &wireConn{Conn: nc, idle: idle, ackNow: quickAck}
	if tcp, ok := nc.(*net.TCPConn); ok {
		w.raw, _ = tcp.SyscallConn()
	}
	w.quickAck()
	return w
}

// Read implements io.Reader.
func (w *wireConn) Read(p []byte) (int, error) {
	if w.idle > 0 {
		if err := w.SetReadDeadline(time.Now().Add(w.idle)); err != nil {
			return 0, err
		}
	}
	n, err := w.Conn.Read(p)
	w.quickAck()
	return n, err
}

// quickAck asks for immediate acknowledgements. Linux forgets it, so it is
// asked again after each read; a failure only costs speed.
func (w *wireConn) quickAck() {
	if w.raw != nil {
		_ = w.raw.Control(w.ackNow)
	}
}
