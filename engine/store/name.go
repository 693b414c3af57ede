package store

import (
	"strconv"
	"strings"
)

// Name is a user@host pair in the case in which it was first seen: a room's or
// a user's. Two Names are the same if their Keys are.
type Name struct {
	User string
	Host string
}

// Key returns what two Names have in common exactly if they are the same: SIP
// compares a user part with case, the imc module does not. A character that needs no
// escape is the same with one (RFC 3261, 19.1.4), so %61lice is alice.
func (n Name) Key() string { return strings.ToLower(unescape(n.User) + "@" + n.Host) }

// URI returns the Name as a SIP URI.
func (n Name) URI() string { return "sip:" + n.User + "@" + n.Host }

// IsZero reports whether n names nobody.
func (n Name) IsZero() bool { return n == Name{} }

// unescape resolves escapes of unreserved characters. Others, which may mean something
// else when they are not escaped, stay.
func unescape(user string) string {
	if strings.IndexByte(user, '%') < 0 {
		return user
	}
	b := make([]byte, 0, len(user))
	for i := 0; i < len(user); i++ {
		if user[i] == '%' && i+2 < len(user) {
			if c, err := strconv.ParseUint(user[i+1:i+3], 16, 8); err == nil && unreserved(byte(c)) {
				b = append(b, byte(c))
				i += 2
				continue
			}
		}
		b = append(b, user[i])
	}
	return string(b)
}

// unreserved reports whether c needs no escape (RFC 3261, section 25.1).
func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.!~*'()", c) >= 0
}
