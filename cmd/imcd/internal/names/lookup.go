package names

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

const (
	maxTargets = 4 // of the servers that SRV records name
	maxDests   = 8 // addresses that are used of one name

	defaultPort = 5060 // RFC 3261, 19.1.2
)

// errNoAddress says that a name has no address that can be sent to.
var errNoAddress = errors.New("no address")

// lookup finds the addresses of a SIP server as RFC 3263 says for a URI without a
// transport, but NAPTR: by SRV records if the URI has no port, UDP first, then by the
// name's own addresses.
func lookup(ctx context.Context, r Resolver, p Place) ([]string, error) {
	name := strings.TrimSuffix(p.Host, ".")
	if strings.Contains(name, ".") {
		name += "." // no search in the domains of resolv.conf
	}
	if p.Port == 0 {
		for _, proto := range []string{"udp", "tcp"} {
			_, servers, err := r.LookupSRV(ctx, "sip", proto, name)
			if ctx.Err() != nil {
				return nil, fmt.Errorf("look up the SIP servers of %s: %w", p.Host, ctx.Err())
			}
			if err != nil || len(servers) == 0 {
				continue
			}
			if len(servers) == 1 && servers[0].Target == "." {
				return nil, fmt.Errorf("%s has no SIP server (%s): %w", p.Host, proto, errNoAddress)
			}
			for _, s := range servers[:min(maxTargets, len(servers))] {
				var dests []string
				if dests, err = addresses(ctx, r, s.Target, s.Port, proto); err == nil {
					return dests, nil
				}
			}
			return nil, fmt.Errorf("SIP servers of %s (%s): %w", p.Host, proto, err)
		}
	}
	return addresses(ctx, r, name, p.Port, "udp")
}

// addresses are those of a host, as SIP URIs: of IPv4 if it has any, as a Kamailio need
// not have IPv6.
func addresses(ctx context.Context, r Resolver, host string, port uint16, proto string) ([]string, error) {
	all, err := r.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", host, err)
	}
	var v4, v6 []string
	for _, a := range all {
		a = a.Unmap().WithZone("")
		switch {
		case !sendable(a, proto):
		case a.Is4():
			v4 = append(v4, destination(a, port, proto))
		default:
			v6 = append(v6, destination(a, port, proto))
		}
	}
	dests := v4
	if len(dests) == 0 {
		dests = v6
	}
	if len(dests) == 0 {
		return nil, fmt.Errorf("look up %s: %w", host, errNoAddress)
	}
	return dests[:min(maxDests, len(dests))], nil
}

// sendable refuses addresses that are not those of a server, even if a name server says them: addresses of
// the link, where clouds keep secrets of their hosts, too; and connections to other programs of the host.
func sendable(a netip.Addr, proto string) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLinkLocalUnicast() &&
		a != netip.AddrFrom4([4]byte{255, 255, 255, 255}) &&
		(proto == "udp" || !a.IsLoopback())
}

func destination(a netip.Addr, port uint16, proto string) string {
	host := a.String()
	if a.Is6() {
		host = "[" + host + "]"
	}
	// imc.cfg compares it with its own sockets, whose ports are another matter without one.
	uri := "sip:" + host + ":" + portText(cmp.Or(port, defaultPort))
	if proto != "udp" {
		uri += ";transport=" + proto
	}
	return uri
}

func portText(port uint16) string { return strconv.Itoa(int(port)) }
