package sipmsg

import (
	"errors"
	"strconv"
	"strings"
)

// maxContacts bounds the contacts of one header.
const maxContacts = 16

// Contact is one contact of a REGISTER request.
type Contact struct {
	URI      string // as it was written; "*" for all contacts of the user
	Instance string // +sip.instance without quotes and angle brackets (RFC 5626); empty: it has none
	Specs    string // +org.linphone.specs without quotes: what the client can do beyond SIP; empty: it does not say
	Expires  int    // seconds; -1: it has no such parameter
}

// ParseContacts reads the value of a Contact header. URIs are not checked.
func ParseContacts(value string) ([]Contact, error) {
	var list []Contact
	for _, one := range splitContacts(value) {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		c, err := parseContact(one)
		if err != nil {
			return nil, err
		}
		if list = append(list, c); len(list) > maxContacts {
			return nil, errors.New("too many contacts")
		}
	}
	if len(list) == 0 {
		return nil, errors.New("no contact")
	}
	return list, nil
}

// splitContacts splits at the commas that are neither in quotes nor in angle brackets.
func splitContacts(s string) []string {
	var parts []string
	quoted, angled, from := false, false, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"' && !angled:
			quoted = !quoted
		case quoted:
		case c == '<':
			angled = true
		case c == '>':
			angled = false
		case c == ',' && !angled:
			parts, from = append(parts, s[from:i]), i+1
		}
	}
	return append(parts, s[from:])
}

func parseContact(s string) (Contact, error) {
	c := Contact{Expires: -1}
	uri, rest, _ := strings.Cut(s, ";")
	if open := indexUnquoted(s, '<'); open >= 0 {
		var closed bool
		if uri, rest, closed = strings.Cut(s[open+1:], ">"); !closed {
			return c, errors.New("contact: no > after <")
		}
	}
	if c.URI = strings.TrimSpace(uri); c.URI == "" {
		return c, errors.New("contact without a URI")
	}
	for _, p := range splitParams(rest) {
		switch strings.ToLower(p.K) {
		case "expires":
			if n, err := strconv.ParseUint(p.V, 10, 31); err == nil {
				c.Expires = int(n)
			}
		case "+sip.instance":
			c.Instance = strings.Trim(p.V, `"<>`)
		case "+org.linphone.specs":
			c.Specs = strings.Trim(p.V, `"`)
		}
	}
	return c, nil
}
