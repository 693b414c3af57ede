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

// keepAlive lets the kernel of the other host answer also while Kamailio owes a pong, and nothing may be written. The
// count is for the kernel here, which ends the connection then: later than DeadAfter.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 10}

// overdue is by how much the last acknowledgement of the other host is too old; less than 0: it is not. Something is
// sent at least each heartbeat or, while everything is acknowledged, when keepAlive says so.
func (w *wireConn) overdue(heartbeat time.Duration) time.Duration {
	if w.raw == nil {
		return 0
	}
	var a ack
	_ = w.raw.Control(func(fd uintptr) { a = lastAck(fd) }) // a connection that is closed owes nothing
	sent := keepAlive.Idle
	if a.owed {
		sent = min(sent, heartbeat)
	}
	return a.ago - sent - 2*a.rtt
}

// ack is what the kernel knows of the last acknowledgement; zero where it does not tell.
type ack struct {
	ago, rtt time.Duration
	owed     bool // something that was sent is not acknowledged
}

// quickAck asks for immediate acknowledgements. Linux forgets it, so this is called after each
// read; a failure only costs speed.
func (w *wireConn) quickAck() {
	if w.raw != nil {
		_ = w.raw.Control(w.ackNow)
	}
}
