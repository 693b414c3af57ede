package evapi

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// escapedLen is the length of s as appendJSON appends it.
func escapedLen[S string | []byte](s S) int {
	n := len(s)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\' || c == '\n' || c == '\r' || c == '\t':
			n++
		case c < 0x20:
			n += len(`\u00xx`) - 1
		}
	}
	return n
}

const hexDigits = "0123456789abcdef"

// appendJSON appends s as the inside of a JSON string. Bytes from 0x80 on stay as they
// are, valid UTF-8 or not: Kamailio hands them through.
func appendJSON[S string | []byte](dst []byte, s S) []byte {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c >= 0x20:
			dst = append(dst, c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return dst
}

// indexUnsafe is the index of the first byte that must not stand in a URI or Call-ID, or -1.
func indexUnsafe(s string) int {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c <= ' ' || c == 0x7f || c == '"' || c == '\\' || c == '<' || c == '>':
			return i
		}
	}
	return -1
}

// checkValue refuses a value that would end its header.
func checkValue(field, value string) error {
	if i := strings.IndexAny(value, "\r\n\x00"); i >= 0 {
		return fmt.Errorf("evapi: %s: byte %q at %d", field, value[i], i)
	}
	return nil
}

func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && strings.IndexByte("-.!%*_+`'~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// cut returns the first n bytes of s at most. It does not leave a part of a character at
// their end.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for back := 1; back < utf8.UTFMax && n > 0 && !utf8.RuneStart(s[n]); back++ {
		n--
	}
	return s[:n]
}
