package engine

import (
	"errors"
	"fmt"
	"strings"

	"github.com/emiago/sipgo/sip"

	"imcd/engine/store"
)

const maxPort = 65535

// Limits of Kamailio's own tables, in characters (imc-create.sql).
const (
	maxNamePart = 64 // name, domain, username
	maxRoomURI  = 64 // imc_members.room, which holds sip:name@domain
)

// ParseName reads "sip:user@host", "user@host" or "user"; a name without a host
// gets host. A port, a password, URI parameters and the scheme sips do
// not make another Name and are dropped. host may be empty if s has one.
func ParseName(s, host string) (store.Name, error) {
	if s == "" {
		return store.Name{}, errors.New("empty name")
	}
	rest, ok := cutScheme(s)
	user, _, full := strings.Cut(rest, "@")
	if scheme, _, other := strings.Cut(user, ":"); !ok && other {
		return store.Name{}, fmt.Errorf("scheme %q is neither sip nor sips", clip(scheme))
	}
	if !full {
		rest += "@" + host
	}
	var uri sip.Uri
	if err := sip.ParseUri("sip:"+rest, &uri); err != nil {
		return store.Name{}, fmt.Errorf("bad URI: %w", err)
	}
	return NameOf(&uri)
}

// cutScheme splits off a leading "sip:" or "sips:".
func cutScheme(s string) (string, bool) {
	for _, scheme := range []string{"sip:", "sips:"} {
		if len(s) >= len(scheme) && strings.EqualFold(s[:len(scheme)], scheme) {
			return s[len(scheme):], true
		}
	}
	return s, false
}

// NameOf takes the user and host out of a parsed URI. Everything but a sip: or
// sips: URI with a user part of RFC 3261 section 25.1 and a host is an error.
func NameOf(uri *sip.Uri) (store.Name, error) {
	if uri.Scheme != "sip" && uri.Scheme != "sips" {
		return store.Name{}, fmt.Errorf("scheme %q is neither sip nor sips", clip(uri.Scheme))
	}
	n := store.Name{User: uri.User, Host: uri.Host}
	switch {
	case uri.HierarhicalSlashes:
		return store.Name{}, errors.New("a SIP URI has no slashes behind the scheme")
	case n.User == "":
		return store.Name{}, errors.New("URI without user part")
	case n.Host == "":
		return store.Name{}, errors.New("URI without host")
	case uri.Port < 0 || uri.Port > maxPort:
		return store.Name{}, fmt.Errorf("port is not between 0 and %d", maxPort)
	case len(n.User) > maxNamePart:
		return store.Name{}, fmt.Errorf("name is longer than %d characters", maxNamePart)
	case len(n.Host) > maxNamePart:
		return store.Name{}, fmt.Errorf("domain is longer than %d characters", maxNamePart)
	case !validUser(n.User):
		return store.Name{}, errors.New("name has characters that a SIP URI does not allow")
	case !validHost(n.Host):
		return store.Name{}, errors.New("domain has characters that a SIP URI does not allow")
	}
	return n, nil
}

// checkRoomName checks the limits of the tables for a room.
func checkRoomName(n store.Name) error {
	if len(n.URI()) > maxRoomURI {
		return fmt.Errorf("room name is too long: %s has %d characters, %d are possible",
			"sip:name@domain", len(n.URI()), maxRoomURI)
	}
	return nil
}

const (
	alphanum       = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	mark           = "-_.!~*'()"
	userUnreserved = "&=+$,;?/"
	userChars      = alphanum + mark + userUnreserved + "%"
	hostChars      = alphanum + "-._"
	ipv6Chars      = "0123456789abcdefABCDEF:."
)

// validUser checks against user = 1*( unreserved / escaped / user-unreserved ).
func validUser(s string) bool {
	for i := 0; i < len(s); i++ {
		if strings.IndexByte(userChars, s[i]) < 0 {
			return false
		}
		if s[i] == '%' && (i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2])) {
			return false
		}
	}
	return true
}

func validHost(s string) bool {
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") && len(s) > 2 {
		return onlyOf(s[1:len(s)-1], ipv6Chars)
	}
	return onlyOf(s, hostChars)
}

func onlyOf(s, chars string) bool {
	for i := 0; i < len(s); i++ {
		if strings.IndexByte(chars, s[i]) < 0 {
			return false
		}
	}
	return true
}

func isHex(c byte) bool { return onlyOf(string(c), "0123456789abcdefABCDEF") }

// clip shortens a text of a client before it is shown or logged.
func clip(s string) string {
	const most = 80
	s = printable(s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// printable replaces control characters and invalid UTF-8.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

func mediaType(contentType string) string {
	t, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(t))
}

func equalFold(a, b string) bool { return strings.EqualFold(a, b) }

// tokenChars are those of a token (RFC 3261 section 25.1).
const tokenChars = alphanum + "-.!%*_+`'~"

// ErrBadName is of a parameter that is no whole SIP URI.
var ErrBadName = errors.New("bad URI")

// parseName reads a parameter that must be a whole URI: ErrBadName.
func parseName(what, uri string) (store.Name, error) {
	name, err := ParseName(uri, "")
	if err != nil {
		return store.Name{}, fmt.Errorf("%s: %w %q: %w", what, ErrBadName, clip(uri), err)
	}
	return name, nil
}
