package evapi

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// lateConn's first Reads fail as if this process had stood still beyond the
// deadline; then there is data.
type lateConn struct {
	net.Conn
	fails int
}

func (c *lateConn) SetReadDeadline(time.Time) error { return nil }

func (c *lateConn) Read(p []byte) (int, error) {
	if c.fails > 0 {
		c.fails--
		return 0, os.ErrDeadlineExceeded
	}
	return copy(p, "data"), nil
}

func TestReadAfterStandingStill(t *testing.T) {
	buf := make([]byte, 8)
	w := newWireConn(&lateConn{fails: 1}, time.Second)
	if n, err := w.Read(buf); err != nil || string(buf[:n]) != "data" {
		t.Errorf("Read = %q, %v: what had arrived is lost", buf[:n], err)
	}
	w = newWireConn(&lateConn{fails: 2}, time.Second)
	if _, err := w.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a silent connection: %v", err)
	}
	w = newWireConn(&lateConn{fails: 1}, 0)
	if _, err := w.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("without an idle time: %v", err)
	}
}
