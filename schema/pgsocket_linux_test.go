package schema

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"imcd/schema/schematest"
)

// TestSilentNetwork: the system gives a connection up when what was sent is not acknowledged;
// one by a Unix socket needs no such thing.
func TestSilentNetwork(t *testing.T) {
	t.Parallel()
	s := open(t, schematest.NewDatabase(t), Options{})
	c, err := s.db.Conn(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() // gives it back
	var limit int
	err = c.Raw(func(inner any) error {
		raw, err := inner.(*conn).socket.main.(*net.TCPConn).SyscallConn()
		if err != nil {
			return err
		}
		var failed error
		err = raw.Control(func(fd uintptr) {
			limit, failed = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
		})
		if err != nil {
			return err
		}
		return failed
	})
	if err != nil || limit != 1000 {
		t.Errorf("given up after %d ms, %v", limit, err)
	}
}
