package evapi

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

// wireConn is a connection to Kamailio that acknowledges at once and must not fall silent.
// Kamailio does not switch Nagle's algorithm off, so its small frames would wait for our
// delayed acknowledgement, some 40 ms each.
type wireConn struct {
	net.Conn
	idle   time.Duration   // a Read fails after so long without bytes; 0: never
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

// secondLook is a second wait when the time is over: if this process stood still, the frames
// that the other end sent meanwhile are there, and their results must not be lost.
const secondLook = 200 * time.Millisecond

func (w *wireConn) readWithin(p []byte, d time.Duration) (int, error) {
	if d > 0 {
		if err := w.SetReadDeadline(time.Now().Add(d)); err != nil {
			return 0, err
		}
	}
	return w.Conn.Read(p)
}

// quickAck asks for immediate acknowledgements. Linux forgets it, so this is called after each
// read; a failure only costs speed.
func (w *wireConn) quickAck() {
	if w.raw != nil {
		_ = w.raw.Control(w.ackNow)
	}
}
