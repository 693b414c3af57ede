package load

import (
	"bytes"
	"hash/maphash"
)

// arrival is a MESSAGE at the sink.
type arrival struct {
	mark   mark   // {0, 0}, which no message has, if there is none: a notice
	member uint32 // the number in the user part of the request URI
	branch uint32 // hash of the topmost Via, never 0; the same for a retransmission
}

// The user part of a member's URI is this and a number.
const memberLetter = 'm'

var (
	requestStart = []byte("MESSAGE sip:")
	responseLine = []byte("SIP/2.0 200 OK\r\n")
	responseEnd  = []byte("Content-Length: 0\r\n\r\n")
	emptyLine    = []byte("\r\n\r\n")
)

// parser reads requests and writes the responses to them.
type parser struct {
	seed maphash.Seed
}

// answer reads a MESSAGE and appends the 200 to dst. Not ok: it is something else,
// or has no Via. A request to nobody of the members has no mark.
func (p parser) answer(dst, packet []byte) (response []byte, a arrival, ok bool) {
	rest, found := bytes.CutPrefix(packet, requestStart)
	end := bytes.Index(packet, emptyLine)
	if !found || end < 0 {
		return dst, a, false
	}
	if rest[0] == memberLetter {
		if a.member, _, ok = number(rest[1:]); ok {
			a.mark, _ = findMark(packet[end:])
		}
	}
	return p.copyHeaders(dst, packet[:end+2], a)
}

// copyHeaders appends the response: the header fields that a response repeats.
func (p parser) copyHeaders(dst, head []byte, a arrival) ([]byte, arrival, bool) {
	_, head, _ = bytes.Cut(head, []byte("\n")) // the request line
	dst = append(dst, responseLine...)
	for len(head) > 0 {
		i := bytes.IndexByte(head, '\n')
		if i < 0 {
			break
		}
		line := head[:i+1]
		head = head[i+1:]
		switch {
		case repeated(line):
			dst = append(dst, line...)
			if a.branch == 0 && line[0] == 'V' {
				a.branch = uint32(maphash.Bytes(p.seed, line)) | 1
			}
		case bytes.HasPrefix(line, []byte("To: ")):
			dst = append(dst, bytes.TrimRight(line, "\r\n")...)
			dst = append(dst, ";tag=sink\r\n"...)
		}
	}
	return append(dst, responseEnd...), a, a.branch != 0
}

// repeated tells which header lines a response has as they are. Kamailio, whose
// requests these are, writes the names in this form.
func repeated(line []byte) bool {
	for _, name := range [...]string{"Via: ", "From: ", "Call-ID: ", "CSeq: "} {
		if len(line) > len(name) && string(line[:len(name)]) == name {
			return true
		}
	}
	return false
}

// reply is a response at the client.
type reply struct {
	mark  mark // of its topmost Via
	code  int
	retry bool // it has a Retry-After
}

// parseReply reads a response to one of the client's own requests.
func parseReply(packet []byte) (r reply, ok bool) {
	rest, found := bytes.CutPrefix(packet, responseLine[:len("SIP/2.0 ")])
	if !found {
		return r, false
	}
	code, rest, ok := number(rest)
	if !ok || code < 100 || code > 699 {
		return r, false
	}
	r.code = int(code)
	if r.mark, ok = findMark(rest); !ok {
		return r, false
	}
	r.retry = bytes.Contains(rest, []byte("\r\nRetry-After:"))
	return r, true
}
