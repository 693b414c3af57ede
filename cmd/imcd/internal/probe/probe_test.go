package probe

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, addr string) *Socket {
	t.Helper()
	s, err := Open(context.Background(), addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// TestAsk: a request reaches another socket, which answers what it expects and
// nothing else.
func TestAsk(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	to := open(t, "127.0.0.1:9")
	from := open(t, to.conn.LocalAddr().String())
	arrived := to.Expect("call-1")
	code, reason, err := from.Ask(ctx, "MESSAGE", to.Contact("x"), "call-1")
	if code != 200 || reason != "OK" || err != nil {
		t.Errorf("%d %s, %v", code, reason, err)
	}
	select {
	case <-arrived:
	default:
		t.Error("the request was answered and has not arrived")
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, _, err := from.Ask(short, "MESSAGE", to.Contact("x"), "call-2"); !errors.Is(err, ErrSilent) {
		t.Errorf("to what nobody expects: %v", err)
	}
	if _, err := Open(ctx, "no port"); err == nil || !strings.Contains(err.Error(), "no port") {
		t.Errorf("a bad address: %v", err)
	}
}

// FuzzPacket: whatever comes to the port, the socket goes on; only what has the
// Call-ID counts.
func FuzzPacket(f *testing.F) {
	s := open(f, "127.0.0.1:9")
	for _, seed := range []string{
		"MESSAGE sip:x@y SIP/2.0\r\nCall-ID: call-1\r\n\r\n", "SIP/2.0 200 OK\r\nCall-ID: call-1\r\n\r\n",
		"SIP/2.0 100 Trying\r\nCall-ID:call-1\r\n\r\n",
		"ACK sip:x@y SIP/2.0\r\ni: call-1\r\n\r\n", "\r\n\r\n", "MESSAGE",
		"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/UDP a;rport\r\nCall-ID: call-1\r\nFrom: <\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	nobody := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9}
	f.Fuzz(func(t *testing.T, b []byte) {
		arrived := s.Expect("call-1")
		s.packet(b, nobody)
		select {
		case <-arrived:
			if !strings.Contains(string(b), "call-1") {
				t.Errorf("%q arrived", b)
			}
		default:
		}
	})
}
