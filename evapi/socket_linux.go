package evapi

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

func quickAck(fd uintptr) {
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
}

func lastAck(fd uintptr) ack {
	info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return ack{}
	}
	return ack{ago: time.Duration(info.Last_ack_recv) * time.Millisecond,
		rtt: time.Duration(info.Rtt) * time.Microsecond, owed: info.Unacked > 0}
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
