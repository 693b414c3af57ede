package evapi

import (
	"net"

	"golang.org/x/sys/unix"
)

func quickAck(fd uintptr) {
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
}

// granted returns the receive buffer of a socket, in bytes without the kernel's own part,
// which is as much again; 0: unknown.
func granted(conn *net.UDPConn) (n int) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		n, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
	})
	return n / 2
}
