//go:build !linux

package evapi

import "net"

// quickAck does nothing: there is no such option.
func quickAck(uintptr) {}

// lastAck is unknown here.
func lastAck(uintptr) ack { return ack{} }

// granted is unknown here.
func granted(*net.UDPConn) int { return 0 }
