// Package probe speaks as much SIP over UDP as it takes to try a way through
// Kamailio: a socket that sends one request, and answers the requests that come to it.
package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// From is the sender of probes: a domain that is nobody's (RFC 2606), so that no
// user's password is asked for.
const From = "sip:imcd-check@imcd-check.invalid"

// resend is the wait before a request is sent again; it doubles (RFC 3261 timer E).
const resend = 500 * time.Millisecond

// maxPacket is the longest datagram there is.
const maxPacket = 65535

// Socket is a UDP port of this host. One goroutine reads it until Close.
type Socket struct {
	conn net.PacketConn
	peer *net.UDPAddr
	done chan struct{} // closed when the reader has ended

	mu      sync.Mutex
	answers map[string]chan *sip.Response // by Call-ID, of requests under way; guarded by mu
	arrived map[string]chan struct{}      // by Call-ID, of the expected requests; guarded by mu
}

// Open makes a socket for talking to addr, host:port; its own address is the one
// that addr sees.
func Open(ctx context.Context, addr string) (*Socket, error) {
	var d net.Dialer
	try, err := d.DialContext(ctx, "udp", addr)
	if err != nil {
		return nil, fmt.Errorf("find the way to %s: %w", addr, err)
	}
	local, peer := try.LocalAddr().(*net.UDPAddr), try.RemoteAddr().(*net.UDPAddr)
	if err := try.Close(); err != nil {
		return nil, fmt.Errorf("find the way to %s: %w", addr, err)
	}
	conn, err := listen(local)
	if err != nil {
		return nil, fmt.Errorf("open a UDP socket: %w", err)
	}
	s := &Socket{conn: conn, peer: peer, done: make(chan struct{}),
		answers: map[string]chan *sip.Response{}, arrived: map[string]chan struct{}{}}
	go s.read()
	return s, nil
}

// elsewhere is an address of every Linux that is not the one a Kamailio on loopback
// has: it takes what is sent there for somebody else's, and relays it.
const elsewhere = "127.0.0.153"

func listen(local *net.UDPAddr) (net.PacketConn, error) {
	if local.IP.IsLoopback() && local.IP.To4() != nil {
		if conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(elsewhere)}); err == nil {
			return conn, nil
		}
	}
	return net.ListenUDP("udp", &net.UDPAddr{IP: local.IP, Zone: local.Zone})
}

// Close closes the socket and waits for its reader.
func (s *Socket) Close() {
	_ = s.conn.Close()
	<-s.done
}

// Contact is a SIP URI that leads to the socket.
func (s *Socket) Contact(user string) string {
	return "sip:" + user + "@" + s.conn.LocalAddr().String()
}

// Expect returns a channel that is closed when a request with this Call-ID comes.
// It is answered 200.
func (s *Socket) Expect(callID string) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := make(chan struct{})
	s.arrived[callID] = ch
	return ch
}

// ErrSilent says that no answer came.
var ErrSilent = errors.New("no answer")

// Ask sends a request and returns its final response; ErrSilent if none comes
// until ctx ends.
func (s *Socket) Ask(ctx context.Context, method, uri, callID string) (code int, reason string, err error) {
	return s.ask(ctx, method, uri, "", callID)
}

// AskWithin is Ask for a request within a dialog that nobody has.
func (s *Socket) AskWithin(ctx context.Context, method, uri, callID string) (code int, reason string, err error) {
	return s.ask(ctx, method, uri, ";tag="+callID, callID)
}

func (s *Socket) ask(ctx context.Context, method, uri, tag, callID string) (code int, reason string, err error) {
	ch := make(chan *sip.Response, 4)
	s.mu.Lock()
	s.answers[callID] = ch
	s.mu.Unlock()
	request := s.request(method, uri, tag, callID)
	again := time.NewTimer(0)
	defer again.Stop()
	for wait := resend; ; {
		select {
		case <-again.C:
			if _, err := s.conn.WriteTo(request, s.peer); err != nil {
				return 0, "", fmt.Errorf("send to %s: %w", s.peer, err)
			}
			again.Reset(wait)
			wait *= 2
		case res := <-ch:
			if !res.IsProvisional() {
				return res.StatusCode, res.Reason, nil
			}
		case <-ctx.Done():
			return 0, "", fmt.Errorf("%w from %s", ErrSilent, s.peer)
		}
	}
}

func (s *Socket) request(method, uri, tag, callID string) []byte {
	const body = "imcd check"
	return fmt.Appendf(nil, "%[1]s %[2]s SIP/2.0\r\nVia: SIP/2.0/UDP %[3]s;branch=z9hG4bK%[4]s;rport\r\n"+
		"Max-Forwards: 20\r\nFrom: <%[5]s>;tag=%[4]s\r\nTo: <%[2]s>%[8]s\r\nCall-ID: %[4]s\r\nCSeq: 1 %[1]s\r\n"+
		"User-Agent: imcd check\r\nContent-Type: text/plain\r\nContent-Length: %[6]d\r\n\r\n%[7]s",
		method, uri, s.conn.LocalAddr(), callID, From, len(body), body, tag)
}

// read answers requests and hands out responses until the socket is closed.
func (s *Socket) read() {
	defer close(s.done)
	buf := make([]byte, maxPacket)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP message about an earlier packet
		}
		s.packet(buf[:n], from)
	}
}

// packet takes one datagram. Anybody can send anything to an open port, so what is
// no SIP is dropped, and so is what the parser stumbles over.
func (s *Socket) packet(b []byte, from net.Addr) {
	defer func() { _ = recover() }()
	msg, err := sip.NewParser().ParseSIP(bytes.Clone(b))
	if err == nil && msg.CallID() != nil {
		s.take(msg, msg.CallID().Value(), from)
	}
}

func (s *Socket) take(msg sip.Message, id string, from net.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch m := msg.(type) {
	case *sip.Response:
		select {
		case s.answers[id] <- m:
		default: // repeated, or to nothing that was asked
		}
	case *sip.Request:
		ch := s.arrived[id]
		if ch == nil || strings.EqualFold(string(m.Method), "ACK") {
			return
		}
		select {
		case <-ch:
		default:
			close(ch)
		}
		_, _ = s.conn.WriteTo([]byte(sip.NewResponseFromRequest(m, 200, "OK", nil).String()), from)
	}
}
