package evapitest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports below the kernel's range for outgoing connections: a port that was free
// when it was looked at is not taken by somebody's connect().
const (
	portMin = 10000
	portMax = 32000
)

// FreePort returns a port that is free on 127.0.0.1 for UDP and TCP alike.
func FreePort() (int, error) {
	for range 1000 {
		port := portMin + rand.IntN(portMax-portMin)
		if portIsFree(port) {
			return port, nil
		}
	}
	return 0, errors.New("evapitest: no free port on 127.0.0.1")
}

// FreePorts returns n different ports, each like FreePort's.
func FreePorts(n int) ([]int, error) {
	seen := make(map[int]bool, n)
	ports := make([]int, 0, n)
	for len(ports) < n {
		port, err := FreePort()
		if err != nil {
			return nil, err
		}
		if !seen[port] {
			seen[port] = true
			ports = append(ports, port)
		}
	}
	return ports, nil
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
