package evapi

import (
	"strings"
	"testing"
)

func TestSplitName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		host string
		port uint16
	}{
		{"a.example:5060", "a.example", 5060}, {"a.example:", "a.example", 0}, {"A_b-1:1", "A_b-1", 1},
		{"a:65535", "a", 65535},
		{"a.example", "", 0}, {":5060", "", 0}, {"", "", 0}, {"a:65536", "", 0}, {"a:-1", "", 0}, {"a:x", "", 0},
		{"a b:1", "", 0}, {"a\x00:1", "", 0},
		{"[::1]:5060", "", 0}, {"a/b:1", "", 0}, {strings.Repeat("a", 256) + ":1", "", 0},
	} {
		if host, port, ok := splitName(c.in); ok != (c.host != "") || ok && (host != c.host || port != c.port) {
			t.Errorf("%q: %q, %d, %v", c.in, host, port, ok)
		}
	}
}

func FuzzSplitName(f *testing.F) {
	f.Add("a.example:5060")
	f.Add(":")
	f.Fuzz(func(t *testing.T, s string) {
		if host, _, ok := splitName(s); ok && (host == "" || len(host) > maxHost || strings.ContainsAny(host,
			" \r\n:@<>\"")) {
			t.Errorf("%q: %q", s, host)
		}
	})
}
