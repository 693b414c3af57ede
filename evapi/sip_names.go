package evapi

import (
	"strconv"
	"strings"
)

// maxHost is the length of a host name, at most (RFC 1035).
const maxHost = 255

// unresolved gives a copy to a Handler that looks names up; false: it does not.
func (c *Conn) unresolved(cp Copy, name string) bool {
	h, ok := c.handler.(NameHandler)
	if !ok {
		return false
	}
	host, port, ok := splitName(name)
	return ok && h.Unresolved(c, cp, host, port)
}

// splitName reads "host:port" or "host:".
func splitName(name string) (host string, port uint16, ok bool) {
	host, digits, ok := strings.Cut(name, ":")
	if !ok || host == "" || len(host) > maxHost {
		return "", 0, false
	}
	for _, r := range host {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._", r) {
			return "", 0, false
		}
	}
	if digits == "" {
		return host, 0, true
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	return host, uint16(n), err == nil
}
