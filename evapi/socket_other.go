//go:build !linux

package evapi

import "net"

// quickAck does nothing: there is no such option.
func quickAck(uintptr) {}

// granted is unknown here.
func granted(*net.UDPConn) int { return 0 }
