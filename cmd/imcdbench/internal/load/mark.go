package load

import (
	"bytes"
	"strconv"
)

// A mark is "bench-RUN-MESSAGE.", both decimal, wherever it stands.
const (
	markWord = "bench-"
	markEnd  = '.'
)

// mark names one message of one run.
type mark struct {
	run     uint32
	message uint32
}

func (m mark) append(dst []byte) []byte {
	dst = append(dst, markWord...)
	dst = strconv.AppendUint(dst, uint64(m.run), 10)
	dst = append(dst, '-')
	dst = strconv.AppendUint(dst, uint64(m.message), 10)
	return append(dst, markEnd)
}

// findMark returns the first mark in text.
func findMark(text []byte) (m mark, ok bool) {
	i := bytes.Index(text, []byte(markWord))
	if i < 0 {
		return mark{}, false
	}
	text = text[i+len(markWord):]
	if m.run, text, ok = number(text); !ok || len(text) == 0 || text[0] != '-' {
		return mark{}, false
	}
	if m.message, text, ok = number(text[1:]); !ok || len(text) == 0 || text[0] != markEnd {
		return mark{}, false
	}
	return m, true
}

// number reads the decimal number that text begins with, at most 9 digits.
func number(text []byte) (n uint32, rest []byte, ok bool) {
	i := 0
	for ; i < len(text) && i < 9 && text[i] >= '0' && text[i] <= '9'; i++ {
		n = n*10 + uint32(text[i]-'0')
	}
	return n, text[i:], i > 0
}
