package evapitest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"

	"golang.org/x/sys/unix"
)

// Ports below the kernel's range for outgoing connections: a port that was free
// when it was looked at is not taken by somebody's connect().
const (
	portMin = 10000
	portMax = 32000
)

// FreePort returns a port that is free on 127.0.0.1 for UDP and TCP alike. No other call returns it,
// also in another process of the tests, until this process ends: its user may bind it much later.
func FreePort() (int, error) {
	for range 1000 {
		port := portMin + rand.IntN(portMax-portMin)
		if portIsFree(port) && reserve(port) {
			return port, nil
		}
	}
	return 0, errors.New("evapitest: no free port on 127.0.0.1")
}

// FreePorts returns n different ports, each like FreePort's.
func FreePorts(n int) ([]int, error) {
	ports := make([]int, 0, n)
	for len(ports) < n {
		port, err := FreePort()
		if err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	return ports, nil
}

// reserve reports false if a process has the port already. An abstract socket of that name is the sign;
// it stays open until the process ends.
func reserve(port int) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("@imcd-test-port-%d", port)}); err != nil {
		unix.Close(fd)
		return false
	}
	return true
}

func portIsFree(port int) bool {
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", addr)
	if err != nil {
		return false
	}
	udp.Close()
	return true
}
