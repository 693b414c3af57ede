package schema

import (
	"bytes"
	"time"

	"imcd/evapi/sipmsg"
)

// headerLines are headers as imcd_messages has them. They have no line ends in them: the
// engine has made a request of them before.
func headerLines(headers []sipmsg.Header) blob {
	var b blob
	for _, h := range headers {
		b = append(b, h.Name...)
		b = append(b, ": "...)
		b = append(b, h.Value...)
		b = append(b, '\n')
	}
	return b
}

// headersIn reads what headerLines has written; nil for none.
func headersIn(lines []byte) []sipmsg.Header {
	var headers []sipmsg.Header
	for line := range bytes.SplitSeq(lines, []byte{'\n'}) {
		if name, value, ok := bytes.Cut(line, []byte(": ")); ok {
			headers = append(headers, sipmsg.Header{Name: string(name), Value: string(value)})
		}
	}
	return headers
}

// millis is a time as the tables have it; 0 for none.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
