package load

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// enlarge gives a socket large buffers: past the system's limit if we may (root),
// as large as it allows otherwise.
func enlarge(conn *net.UDPConn) error {
	err := onSocket(conn, func(fd int) error {
		return errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bufferSize),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, bufferSize))
	})
	if err != nil {
		err = errors.Join(conn.SetReadBuffer(bufferSize), conn.SetWriteBuffer(bufferSize))
	}
	if err != nil {
		return fmt.Errorf("buffers of a socket: %w", err)
	}
	return nil
}

// onSocket does something to the descriptor of a socket.
func onSocket(conn *net.UDPConn, do func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = do(int(fd)) }); err != nil {
		return err
	}
	return failed
}

func portOf(conn *net.UDPConn) int { return conn.LocalAddr().(*net.UDPAddr).Port }

// Drops is how many datagrams the kernel has dropped at each UDP port of this
// host because nobody read them fast enough. Ports that share a number count
// together; ports that are not open are 0.
func Drops(ports ...int) (map[int]int64, error) {
	f, err := os.Open("/proc/net/udp")
	if err != nil {
		return nil, fmt.Errorf("dropped datagrams: %w", err)
	}
	defer f.Close()
	drops := make(map[int]int64, len(ports))
	for _, p := range ports {
		drops[p] = 0
	}
	lines := bufio.NewScanner(f)
	lines.Scan() // the heading
	for lines.Scan() {
		port, n, err := dropsOf(lines.Text())
		if err != nil {
			return nil, fmt.Errorf("dropped datagrams: %w", err)
		}
		if _, wanted := drops[port]; wanted {
			drops[port] += n
		}
	}
	return drops, lines.Err()
}

func dropsOf(line string) (port int, drops int64, err error) {
	fields := strings.Fields(line)
	if len(fields) < 13 {
		return 0, 0, fmt.Errorf("line %q", line)
	}
	_, hex, _ := strings.Cut(fields[1], ":")
	p, err := strconv.ParseUint(hex, 16, 16)
	if err != nil {
		return 0, 0, err
	}
	drops, err = strconv.ParseInt(fields[12], 10, 64)
	return int(p), drops, err
}
