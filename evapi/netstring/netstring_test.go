package netstring

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReader(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		want []string
		err  error
	}{
		{"", nil, io.EOF},
		{"0:,", []string{""}, io.EOF},
		{"5:hello,", []string{"hello"}, io.EOF},
		{"5:hello,3:a,b,1:\x00,", []string{"hello", "a,b", "\x00"}, io.EOF},
		{"10:0123456789,", []string{"0123456789"}, io.EOF},
		{"11:", nil, ErrFraming},
		{"100000000000000000000000", nil, ErrFraming},
		{"00:,", nil, ErrFraming},
		{"05:hello,", nil, ErrFraming},
		{":,", nil, ErrFraming},
		{"-1:x,", nil, ErrFraming},
		{" 1:x,", nil, ErrFraming},
		{"1 :x,", nil, ErrFraming},
		{"1:x,\n", []string{"x"}, ErrFraming},
		{"1:xx", nil, ErrFraming},
		{"1:x;", nil, ErrFraming},
		{"1", nil, io.ErrUnexpectedEOF},
		{"1:", nil, io.ErrUnexpectedEOF},
		{"2:x", nil, io.ErrUnexpectedEOF},
		{"1:x", nil, io.ErrUnexpectedEOF},
		{"hello", nil, ErrFraming},
		{"GET / HTTP/1.1\r\n", nil, ErrFraming},
	}
	for _, tt := range tests {
		for name, r := range map[string]io.Reader{
			"whole": strings.NewReader(tt.in), "bytewise": iotest.OneByteReader(strings.NewReader(tt.in)),
		} {
			n := NewReader(r, 10)
			var got []string
			var err error
			for {
				var p []byte
				if p, err = n.Read(); err != nil {
					break
				}
				got = append(got, string(p))
			}
			if strings.Join(got, "|") != strings.Join(tt.want, "|") || !errors.Is(err, tt.err) {
				t.Errorf("%s %q: %q, %v; want %q, %v", name, tt.in, got, err, tt.want, tt.err)
			}
		}
	}
}

func TestLengthIsCheckedFirst(t *testing.T) {
	t.Parallel()
	n := NewReader(strings.NewReader("999999999:x"), 1<<20)
	if _, err := n.Read(); !errors.Is(err, ErrFraming) {
		t.Fatal(err)
	}
	if n.buf != nil {
		t.Errorf("%d bytes allocated for a refused length", cap(n.buf))
	}
}

func FuzzNetstring(f *testing.F) {
	for _, s := range []string{"", "0:,", "5:hello,3:a,b,", "05:hello,", "1:xx", "99999999999:", "3:ab", "2:ab,x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		const limit = 64
		n := NewReader(bytes.NewReader(in), limit)
		var again []byte
		for {
			p, err := n.Read()
			if err != nil {
				break
			}
			if len(p) > limit {
				t.Fatalf("%d bytes", len(p))
			}
			again = Append(again, p)
		}
		// What was taken is exactly what was there.
		if !bytes.HasPrefix(in, again) {
			t.Fatalf("%q is not how %q begins", again, in)
		}
	})
}
