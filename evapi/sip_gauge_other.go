//go:build !linux

package evapi

import (
	"errors"
	"net/netip"
)

// gauge does not exist: this system does not report the sockets of other processes.
type gauge struct{}

func openGauge(netip.AddrPort) (*gauge, error) { return nil, errors.ErrUnsupported }

func (*gauge) close() {}

func (*gauge) read() (level, error) { return level{}, errors.ErrUnsupported }
