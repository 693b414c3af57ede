package load

import (
	"fmt"
	"net"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stampSize is what the control message with a stamp needs.
var stampSize = unix.CmsgSpace(int(unsafe.Sizeof(unix.Timespec{})))

// stamp has the kernel say when each datagram came.
func stamp(conn *net.UDPConn) error {
	if err := onSocket(conn, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS,
			1)
	}); err != nil {
		return fmt.Errorf("stamps of a socket: %w", err)
	}
	return nil
}

// stampMost is how late a stamp can be believed to be read: more means that the clock
// was set.
const stampMost = time.Second

// stampOf returns when a datagram came, by the clock that cannot be set; now if the
// kernel does not say.
func stampOf(control []byte) time.Time {
	now := time.Now()
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return now
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS &&
			len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})) {
			t := (*unix.Timespec)(unsafe.Pointer(&m.Data[0]))
			if late := now.Round(0).Sub(time.Unix(t.Unix())); late > 0 && late < stampMost {
				return now.Add(-late)
			}
		}
	}
	return now
}
