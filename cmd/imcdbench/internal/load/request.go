package load

import (
	"strconv"
)

// Domain is that of all rooms and users.
const Domain = "bench.example"

// writer makes the client's requests.
type writer struct {
	via string // host:port of the client's socket
}

// head appends the request line and what all requests have. user is the user
// part of the To URI.
func (w writer) head(dst []byte, method, from, to string, m mark) []byte {
	dst = append(dst, method...)
	dst = append(dst, " sip:"...)
	if method == "MESSAGE" {
		dst = append(dst, to...)
		dst = append(dst, '@')
	}
	dst = append(dst, Domain+" SIP/2.0\r\nVia: SIP/2.0/UDP "...)
	dst = append(dst, w.via...)
	dst = append(dst, ";rport;branch=z9hG4bK"...)
	dst = m.append(dst)
	dst = append(dst, "\r\nFrom: <sip:"...)
	dst = append(dst, from...)
	dst = append(dst, "@"+Domain+">;tag=f\r\nTo: <sip:"...)
	dst = append(dst, to...)
	dst = append(dst, "@"+Domain+">\r\nCall-ID: "...)
	dst = m.append(dst)
	return append(dst, "@bench\r\nCSeq: 1 "+method+"\r\nMax-Forwards: 70\r\n"...)
}

// message appends a text message of size bytes to a room; shorter than the mark
// it cannot be.
func (w writer) message(dst []byte, from, room string, m mark, size int) []byte {
	body := m.append(nil)
	for len(body) < size {
		body = append(body, 'x')
	}
	return w.text(dst, from, room, m, body)
}

// text appends a message with that body.
func (w writer) text(dst []byte, from, room string, m mark, body []byte) []byte {
	dst = w.head(dst, "MESSAGE", from, room, m)
	dst = append(dst, "Content-Type: text/plain\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	dst = append(dst, "\r\n\r\n"...)
	return append(dst, body...)
}

// device is where a REGISTER says that its user is.
type device struct {
	number  int // in the user part of its contact, see RegisterDevice
	port    int // of the sink; 0: all of the user's devices go
	expires int // seconds; 0: it goes
}

// register appends a REGISTER of a member.
func (w writer) register(dst []byte, member int, d device, m mark) []byte {
	user := Member(member)
	dst = w.head(dst, "REGISTER", user, user, m)
	if d.port == 0 {
		return append(dst, "Contact: *\r\nExpires: 0\r\nContent-Length: 0\r\n\r\n"...)
	}
	dst = append(dst, "Contact: <sip:"...)
	dst = append(dst, Member(d.number)...)
	dst = append(dst, "@127.0.0.1:"...)
	dst = strconv.AppendInt(dst, int64(d.port), 10)
	dst = append(dst, ">\r\nExpires: "...)
	dst = strconv.AppendInt(dst, int64(d.expires), 10)
	return append(dst, "\r\nContent-Length: 0\r\n\r\n"...)
}

// Member is the user part of the URI of a member.
func Member(number int) string { return string(memberLetter) + strconv.Itoa(number) }
