package sipmsg

import (
	"errors"
	"fmt"
	"strings"

	"github.com/emiago/sipgo/sip"
)

func newFrom(display string, uri sip.Uri, params sip.HeaderParams) sip.Header {
	return &sip.FromHeader{DisplayName: display, Address: uri, Params: params}
}

func newTo(display string, uri sip.Uri, params sip.HeaderParams) sip.Header {
	return &sip.ToHeader{DisplayName: display, Address: uri, Params: params}
}

// addressHeader returns the parser of a header with an address.
func addressHeader(name string, make func(string, sip.Uri, sip.HeaderParams) sip.Header) sip.HeaderParser {
	return func(_ []byte, value string) (sip.Header, error) {
		display, uri, params, err := parseNameAddr(value)
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", name, err)
		}
		return make(display, uri, params), nil
	}
}

// parseNameAddr parses a From or To value. sipgo's own parser takes `a@b;x <sip:c@d>` for a@b;
// since the user's identity depends on it, the value is split here, strictly, and sipgo parses
// only the URI.
func parseNameAddr(value string) (display string, uri sip.Uri, params sip.HeaderParams, err error) {
	value = strings.TrimSpace(value)
	open := indexUnquoted(value, '<')
	if open < 0 {
		spec, rest, _ := strings.Cut(value, ";")
		uri, err = parseAddrSpec(strings.TrimSpace(spec))
		return "", uri, splitParams(rest), err
	}
	spec, rest, closed := strings.Cut(value[open+1:], ">")
	if !closed {
		return "", uri, nil, errors.New("no > after <")
	}
	if display, err = displayName(strings.TrimSpace(value[:open])); err != nil {
		return "", uri, nil, err
	}
	if rest = strings.TrimSpace(rest); rest != "" && rest[0] != ';' {
		return "", uri, nil, errors.New("neither the end nor ; after >")
	}
	uri, err = parseAddrSpec(strings.TrimSpace(spec))
	return display, uri, splitParams(rest), err
}

// indexUnquoted is the index of the first c outside of quoted strings, or -1.
func indexUnquoted(s string, c byte) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case !quoted && s[i] == c:
			return i
		}
	}
	return -1
}

// displayName takes the quotes off a quoted string. Words without quotes may have any
// characters but Kamailio's separators.
func displayName(s string) (string, error) {
	if s == "" || s[0] != '"' {
		if i := strings.IndexAny(s, `";,<>@`); i >= 0 {
			return "", fmt.Errorf("%q in an unquoted display name", s[i])
		}
		return s, nil
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			if i != len(s)-1 {
				return "", errors.New("text after the quoted display name")
			}
			return s[1:i], nil
		}
	}
	return "", errors.New("display name without closing quote")
}

// parseAddrSpec parses a URI. It corrects or refuses the forms that sipgo reads in another way
// than Kamailio.
func parseAddrSpec(s string) (sip.Uri, error) {
	var uri sip.Uri
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] == 0x7f {
			return uri, fmt.Errorf("URI: byte %q", s[i])
		}
	}
	if err := sip.ParseUri(s, &uri); err != nil {
		return uri, fmt.Errorf("URI: %w", err)
	}
	if uri.Wildcard {
		return uri, errors.New("URI is *")
	}
	if uri.Scheme != "sip" && uri.Scheme != "sips" {
		return uri, nil
	}
	if uri.HierarhicalSlashes {
		// A user part may begin with slashes; sipgo has cut them off.
		if !strings.Contains(s, "@") {
			return uri, errors.New("URI: slashes before the host")
		}
		uri.HierarhicalSlashes = false
		uri.User = "//" + uri.User
	}
	if strings.ContainsAny(uri.User, ":@<>") {
		return uri, errors.New("URI: one of :@<> in the user part")
	}
	if uri.Host == "" || strings.ContainsAny(uri.Host, "@<>\"\\,") {
		return uri, fmt.Errorf("URI: host %.64q", uri.Host)
	}
	return uri, nil
}

// splitParams splits `;a=b;c="d;e";f` at semicolons outside of quotes.
func splitParams(s string) sip.HeaderParams {
	var params sip.HeaderParams
	for s != "" {
		one := s
		if i := indexUnquoted(s, ';'); i >= 0 {
			one, s = s[:i], s[i+1:]
		} else {
			s = ""
		}
		name, value, _ := strings.Cut(one, "=")
		if name = strings.TrimSpace(name); name != "" {
			params = append(params, sip.HeaderKV{K: name, V: strings.TrimSpace(value)})
		}
	}
	return params
}
