package sipmsg

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	maxCPIMHeaders = 64      // in all blocks of a wrapper
	maxCPIMHead    = 8 << 10 // their bytes
)

// imdnSpace is the name space of RFC 5438.
const imdnSpace = "urn:ietf:params:imdn"

// CPIM is a message in the Common Presence and Instant Messaging format (RFC 3862).
type CPIM struct {
	Headers  []Header  // of the message, in their order, with the escapes of RFC 3862 undone; NS too
	DateTime time.Time // zero if missing or wrong
	Content  Entity    // its body shares the memory of the argument
	spaces   map[string]string
	escaped  []string // the values of Headers with their escapes
}

// ParseCPIM reads a message/cpim body. It takes the habits of clients: lines that end in LF,
// folded headers, undeclared prefixes, a message without headers for its content
// (text/plain then).
func ParseCPIM(b []byte) (CPIM, error) {
	c := CPIM{spaces: map[string]string{}}
	head := headReader{rest: b}
	block, err := head.block()
	if err != nil {
		return CPIM{}, err
	}
	if len(block) == 0 { // an empty line before everything
		if block, err = head.block(); err != nil {
			return CPIM{}, err
		}
	}
	if len(block) == 0 {
		return CPIM{}, errors.New("no headers")
	}
	// More than one block is for the message if others follow, with its own names.
	for {
		c.add(block)
		before := head
		if block, err = head.block(); err != nil || !(isMIME(block) || len(block) == 0 || isCPIM(block)) {
			head, block = before, nil // it is the text already
			break
		}
		if !isCPIM(block) {
			break
		}
	}
	return c.finish(block, head.rest), nil
}

// finish sets the content: its headers and its body.
func (c *CPIM) finish(mime []Header, body []byte) CPIM {
	for _, h := range mime {
		switch name, ok := EntityHeader(h.Name); {
		case ok:
			c.Content.Headers = append(c.Content.Headers, Header{name, h.Value})
		case strings.EqualFold(h.Name, "Content-Type"):
			c.Content.ContentType = h.Value
		case strings.EqualFold(h.Name, "Content-Length"):
			if n, err := strconv.ParseUint(h.Value, 10, 32); err == nil && n < uint64(len(body)) {
				body = body[:n]
			}
		}
	}
	c.Content.Body = body
	return *c
}

// add takes a block of headers of the message.
func (c *CPIM) add(block []Header) {
	for _, h := range block {
		c.escaped = append(c.escaped, h.Value)
		h.Value = unescape(h.Value)
		c.Headers = append(c.Headers, h)
		switch {
		case strings.EqualFold(h.Name, "NS"):
			prefix, uri, ok := strings.Cut(h.Value, "<")
			if ok && c.spaces != nil {
				c.spaces[strings.TrimSpace(prefix)] = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(uri), ">"))
			}
		case strings.EqualFold(h.Name, "DateTime"):
			if t, err := time.Parse(time.RFC3339, strings.TrimSpace(h.Value)); err == nil {
				c.DateTime = t
			}
		}
	}
}

// Get returns the value of the first header with a name, without prefix; empty if there
// is none.
func (c *CPIM) Get(name string) string {
	for _, h := range c.Headers {
		if strings.EqualFold(h.Name, name) {
			return h.Value
		}
	}
	return ""
}

// IMDN returns the value of a header of RFC 5438 by its name without prefix,
// whatever the prefix is; empty if there is none.
func (c *CPIM) IMDN(name string) string {
	for _, h := range c.Headers {
		prefix, local, ok := strings.Cut(h.Name, ".")
		if !ok {
			prefix, local = "", h.Name
		}
		if !strings.EqualFold(local, name) {
			continue
		}
		uri, declared := c.spaces[prefix]
		if declared && strings.EqualFold(uri, imdnSpace) || !declared && strings.EqualFold(prefix, "imdn") {
			return h.Value
		}
	}
	return ""
}

// Extensions returns the headers whose prefix is of neither RFC 3862 nor RFC 5438, with the NS headers that declare
// these prefixes, in their order and with their escapes: clients tell each other by them what a message is beside its
// text. nil: there are none.
func (c *CPIM) Extensions() []Header {
	var list []Header
	some := false
	for i, h := range c.Headers {
		prefix, _, prefixed := strings.Cut(h.Name, ".")
		declares := strings.EqualFold(h.Name, "NS")
		if declares {
			prefix, _, _ = strings.Cut(h.Value, "<")
			prefix = strings.TrimSpace(prefix)
		}
		switch {
		case !prefixed && !declares, prefix == "", strings.EqualFold(prefix, "imdn"),
			strings.EqualFold(c.spaces[prefix], imdnSpace):
		default:
			list = append(list, Header{h.Name, c.escaped[i]})
			some = some || !declares
		}
	}
	if !some {
		return nil
	}
	return list
}

// isMIME reports whether a block describes the content.
func isMIME(block []Header) bool {
	for _, h := range block {
		if len(h.Name) > 8 && strings.EqualFold(h.Name[:8], "Content-") || strings.EqualFold(h.Name, "MIME-Version") {
			return true
		}
	}
	return false
}

// isCPIM reports whether a block belongs to the message, and not to its content.
func isCPIM(block []Header) bool {
	for _, h := range block {
		switch strings.ToLower(h.Name) {
		case "from", "to", "cc", "datetime", "subject", "ns", "require":
		default:
			if !strings.Contains(h.Name, ".") {
				return false
			}
		}
	}
	return len(block) > 0
}

// headReader reads blocks of headers.
type headReader struct {
	rest    []byte
	headers int
	bytes   int
}

var errNoHeader = errors.New("a line is no header")

// block reads the headers up to the next empty line, or the end.
func (r *headReader) block() ([]Header, error) {
	var block []Header
	for len(r.rest) > 0 {
		raw, rest, _ := bytes.Cut(r.rest, []byte{'\n'})
		r.bytes += len(raw) + 1
		if r.bytes > maxCPIMHead {
			return nil, fmt.Errorf("headers of more than %d bytes", maxCPIMHead)
		}
		r.rest = rest
		line := string(bytes.TrimSuffix(raw, []byte{'\r'}))
		if line == "" {
			return block, nil
		}
		if line[0] == ' ' || line[0] == '\t' {
			if len(block) == 0 {
				return nil, errNoHeader
			}
			last := &block[len(block)-1].Value
			*last = strings.TrimSpace(*last + " " + strings.TrimSpace(stripControls(line)))
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		name = strings.TrimRight(name, " \t")
		if !ok || !isName(name) {
			return nil, errNoHeader
		}
		if r.headers++; r.headers > maxCPIMHeaders {
			return nil, fmt.Errorf("more than %d headers", maxCPIMHeaders)
		}
		block = append(block, Header{name, strings.TrimSpace(stripControls(value))})
	}
	return block, nil
}

// isName reports whether s can name a header: printable characters without spaces.
func isName(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return s != ""
}

// stripControls replaces the characters that would end a header by spaces.
func stripControls(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// unescape undoes the escapes of RFC 3862 section 2.3.1. Line ends and other controls
// become spaces: values go into headers and logs.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 'b', 't', 'n', 'r':
			b.WriteByte(' ')
		case 'u':
			if i+4 < len(s) {
				if n, err := strconv.ParseUint(s[i+1:i+5], 16, 16); err == nil {
					b.WriteRune(rune(n)) // a surrogate becomes U+FFFD
					i += 4
					continue
				}
			}
			b.WriteByte('u')
		default:
			b.WriteByte(s[i])
		}
	}
	return stripControls(b.String())
}
