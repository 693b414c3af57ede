package schema

import (
	"net"

	"golang.org/x/sys/unix"
)

// giveUpSilent sets silentLimit. Without it, as for a Unix socket, calls end at their
// deadlines, which is later.
func giveUpSilent(c net.Conn) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return // closed already
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silentLimit.Milliseconds()))
	})
}
