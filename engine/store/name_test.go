package store

import "testing"

// Characters that need no escape are the same with one (RFC 3261, 19.1.4).
func TestKeyOfEscapes(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"%61lice", "alice", true}, {"%41LICE", "alice", true}, {"al%69c%65", "Alice", true}, {"a%2dlice", "a-lice", true},
		{"a%7Eb", "a~b", true}, {"a%2Fb", "a%2fb", true}, {"a%2Fb", "a/b", false}, {"%2B49", "+49", false},
		{"a%3Bb", "a;b", false}, {"a%40b", "a%40B", true}, {"%2561lice", "%61lice", false}, {"%2561lice", "alice", false},
		{"a%20b", "a b", false}, {"alice", "bob", false},
	} {
		a, b := Name{c.a, "X.org"}, Name{c.b, "x.org"}
		if (a.Key() == b.Key()) != c.same {
			t.Errorf("%s and %s: %s, %s", c.a, c.b, a.Key(), b.Key())
		}
	}
}

func FuzzKey(f *testing.F) {
	f.Add("%61lice")
	f.Add("%%41")
	f.Add("%4")
	f.Fuzz(func(t *testing.T, user string) {
		n := Name{user, "x.org"}
		if len(n.Key()) > 3*len(user)+len("@x.org") { // a byte that is no UTF-8 becomes three
			t.Errorf("%q: %q", user, n.Key())
		}
	})
}
