package evapi

import (
	"errors"
	"net"
	"os"
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
	n, err := w.readWithin(p, w.idle)
	if w.idle > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		n, err = w.readWithin(p, secondLook)
	}
	w.quickAck()
	return n, err
}

// secondLook is how long is waited once more when the time is over: if it was
// this process that stood still, what the other end sent meanwhile is there, and
// its results must not be lost.
const secondLook = 200 * time.Millisecond

func (w *wireConn) readWithin(p []byte, d time.Duration) (int, error) {
	if d > 0 {
		if err := w.SetReadDeadline(time.Now().Add(d)); err != nil {
			return 0, err
		}
	}
	return w.Conn.Read(p)
}

// quickAck asks for immediate acknowledgements. Linux forgets it, so it is
// asked again after each read; a failure only costs speed.
func (w *wireConn) quickAck() {
	if w.raw != nil {
		_ = w.raw.Control(w.ackNow)
	}
}
