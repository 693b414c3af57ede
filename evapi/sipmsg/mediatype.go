package sipmsg

import "strings"

// mediaType is the type without parameters, in lower case; text/plain for an empty one
// (RFC 2045 section 5.2).
func mediaType(contentType string) string {
	t, _, _ := strings.Cut(contentType, ";")
	t = strings.TrimSpace(t)
	if t == "" {
		return "text/plain"
	}
	return strings.ToLower(t)
}

// parameter returns a parameter of a Content-Type or the like, without its quotes; empty if
// there is none. Malformed parts are passed over: clients write `; ;charset = "utf-8"` and
// worse.
func parameter(contentType, name string) string {
	_, rest, _ := strings.Cut(contentType, ";")
	for rest != "" {
		end := len(rest)
		quoted := false
	scan:
		for i := 0; i < len(rest); i++ {
			switch c := rest[i]; {
			case quoted && c == '\\':
				i++
			case c == '"':
				quoted = !quoted
			case c == ';' && !quoted:
				end = i
				break scan
			}
		}
		key, value, ok := strings.Cut(rest[:end], "=")
		rest = rest[min(end+1, len(rest)):]
		if ok && strings.EqualFold(strings.TrimSpace(key), name) {
			return strings.Trim(strings.TrimSpace(value), `"' `)
		}
	}
	return ""
}
