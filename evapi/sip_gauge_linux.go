package evapi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// gauge asks the kernel how full the socket is that receives at an address of this host, of
// whatever process it is (sock_diag(7)). One goroutine uses it at a time.
type gauge struct {
	fd  int
	req []byte
	buf [1024]byte
}

// Where things stand in inet_diag_req_v2 and the answer to it, inet_diag_msg (linux/inet_diag.h).
const (
	diagRequest  = 56
	diagAnswer   = 72
	diagByFamily = 20 // SOCK_DIAG_BY_FAMILY
	diagMemory   = 7  // INET_DIAG_SKMEMINFO

	diagMemoryAll = 9 * 4 // up to SK_MEMINFO_DROPS
)

// openGauge fails where the kernel does not tell.
func openGauge(at netip.AddrPort) (*gauge, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("sock_diag: %w", err)
	}
	g := &gauge{fd: fd, req: make([]byte, unix.NLMSG_HDRLEN+diagRequest)}
	binary.NativeEndian.PutUint32(g.req, uint32(len(g.req)))
	binary.NativeEndian.PutUint16(g.req[4:], diagByFamily)
	binary.NativeEndian.PutUint16(g.req[6:], unix.NLM_F_REQUEST)
	r := g.req[unix.NLMSG_HDRLEN:]
	r[0], r[1], r[2] = unix.AF_INET, unix.IPPROTO_UDP, 1<<(diagMemory-1)
	binary.NativeEndian.PutUint32(r[4:], ^uint32(0)) // in any state
	// As if a datagram came: to the kernel the destination is the socket's own address.
	addr := at.Addr().As4()
	binary.BigEndian.PutUint16(r[10:], at.Port())
	copy(r[28:], addr[:])
	binary.NativeEndian.PutUint64(r[48:], ^uint64(0)) // no cookie
	if _, err := g.read(); err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

func (g *gauge) close() { unix.Close(g.fd) }

// read looks at the socket.
func (g *gauge) read() (level, error) {
	if err := unix.Sendto(g.fd, g.req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return level{}, fmt.Errorf("sock_diag: %w", err)
	}
	n, _, err := unix.Recvfrom(g.fd, g.buf[:], 0) // the kernel has answered by now
	if err != nil {
		return level{}, fmt.Errorf("sock_diag: %w", err)
	}
	return parseGauge(g.buf[:n])
}

var errNoGauge = errors.New("sock_diag: no answer about the socket")

// parseGauge finds the numbers in the kernel's answer.
func parseGauge(b []byte) (level, error) {
	if len(b) < unix.NLMSG_HDRLEN+diagAnswer || binary.NativeEndian.Uint16(b[4:]) != diagByFamily {
		return level{}, errNoGauge
	}
	for b = b[unix.NLMSG_HDRLEN+diagAnswer:]; len(b) >= unix.SizeofNlAttr; {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofNlAttr || n > len(b) {
			break
		}
		if v := b[unix.SizeofNlAttr:n]; binary.NativeEndian.Uint16(b[2:]) == diagMemory && len(v) >= diagMemoryAll {
			at := func(i int) uint64 { return uint64(binary.NativeEndian.Uint32(v[4*i:])) }
			return level{used: at(0), size: at(1), drops: at(8)}, nil
		}
		b = b[min(len(b), (n+3)&^3):]
	}
	return level{}, errNoGauge
}
