package convo

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// maxBody bounds a body in a file, in bytes.
const maxBody = 1 << 20

// parseBody reads a body: the rest of a line as it is or, if it begins with a
// quote, quoted strings with Go's escapes, each perhaps repeated: "a"*3 "\n".
func parseBody(s string) ([]byte, error) {
	s = strings.TrimSpace(s)
	if !strings.HasPrefix(s, `"`) {
		return []byte(s), nil
	}
	var body []byte
	for s != "" {
		quoted, err := strconv.QuotedPrefix(s)
		if err != nil {
			return nil, fmt.Errorf("body: %w at %q", err, s)
		}
		part, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, fmt.Errorf("body: %w", err)
		}
		times := 1
		s = s[len(quoted):]
		if strings.HasPrefix(s, "*") {
			number, rest, _ := strings.Cut(s[1:], " ")
			if times, err = strconv.Atoi(number); err != nil {
				return nil, fmt.Errorf("body: %w", err)
			}
			s = rest
		}
		if times < 0 || times > maxBody || times*len(part) > maxBody {
			return nil, fmt.Errorf("body: %d times %d bytes", times, len(part))
		}
		body = append(body, bytes.Repeat([]byte(part), times)...)
		s = strings.TrimSpace(s)
	}
	return body, nil
}

// wildcard stands for any bytes in a Pattern.
const wildcard = "…"

// Pattern is a body in which an ellipsis (…) stands for any bytes, or none.
type Pattern []byte

// Match reports whether b is such a body.
func (p Pattern) Match(b []byte) bool {
	parts := bytes.Split(p, []byte(wildcard))
	if len(parts) == 1 {
		return bytes.Equal(p, b)
	}
	if !bytes.HasPrefix(b, parts[0]) {
		return false
	}
	b = b[len(parts[0]):]
	last := parts[len(parts)-1]
	for _, part := range parts[1 : len(parts)-1] {
		i := bytes.Index(b, part)
		if i < 0 {
			return false
		}
		b = b[i+len(part):]
	}
	return bytes.HasSuffix(b, last)
}
