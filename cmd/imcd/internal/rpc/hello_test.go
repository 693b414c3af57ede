package rpc

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"imcd/evapi/jsonrpc"
	"imcd/evapi/netstring"
)

// listenHello is a port with one place, where a hello may take as long as wait if there is a token.
func listenHello(t *testing.T, token string, wait time.Duration) *Listener {
	t.Helper()
	l, err := Listen("127.0.0.1:0", token, 1, jsonrpc.NewServer(Methods(fakeRooms{})), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	if l.hello != helloWait {
		t.Errorf("a hello may take %v", l.hello)
	}
	l.hello = wait
	l.Start()
	t.Cleanup(l.Stop)
	return l
}

// TestSilentBeforeHello: who does not say the token in time loses its place, also if it says something all the
// time; who has said it keeps its place.
func TestSilentBeforeHello(t *testing.T) {
	const wait = 50 * time.Millisecond
	l := listenHello(t, "token", wait)
	for name, write := range map[string]func(nc net.Conn) error{
		"silent":   func(net.Conn) error { return nil },
		"half":     func(nc net.Conn) error { _, err := nc.Write([]byte("11:hello ")); return err },
		"dripping": drip,
	} {
		nc := dial(t, l)
		if err := nc.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if err := write(nc); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
			continue // it was cut off
		}
		if _, err := io.ReadAll(nc); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The place is free, or will be in a moment.
	nc, in := hello(t, l)
	for end := time.Now().Add(time.Minute); nc == nil && time.Now().Before(end); {
		nc, in = hello(t, l)
	}
	if nc == nil {
		t.Fatal("the place is never free")
	}
	// What it has said counts for all the time.
	for end := time.Now().Add(3 * wait); time.Now().Before(end); {
		if _, err := nc.Write(netstring.Append(nil, []byte(statsCall))); err != nil {
			t.Fatal(err)
		}
		if answer, err := in.Read(); err != nil || !strings.Contains(string(answer), "active_rooms") {
			t.Fatalf("after its hello: %s %v", answer, err)
		}
	}
}

// hello says the token; nil if there is no place.
func hello(t *testing.T, l *Listener) (net.Conn, *netstring.Reader) {
	t.Helper()
	nc := dial(t, l)
	if _, err := nc.Write(netstring.Append(nil, []byte("hello token"))); err != nil {
		return nil, nil
	}
	in := netstring.NewReader(nc, 1<<20)
	if welcome, err := in.Read(); err != nil || !strings.Contains(string(welcome), "imc.welcome") {
		return nil, nil
	}
	return nc, in
}

// drip writes a hello that never ends, a byte at a time, until nobody takes it any more.
func drip(nc net.Conn) error {
	text := "9999:hello "
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		b := byte('x')
		if text != "" {
			b, text = text[0], text[1:]
		}
		if _, err := nc.Write([]byte{b}); err != nil {
			return err
		}
	}
}

func answersStats(t *testing.T, nc net.Conn) {
	t.Helper()
	if _, err := nc.Write(netstring.Append(nil, []byte(statsCall))); err != nil {
		t.Fatal(err)
	}
	if got := frames(t, nc, 1)[0]; !strings.Contains(got, "active_rooms") {
		t.Error(got)
	}
}

// TestSilentWithoutToken: where nothing is asked for, a client may be silent as long as it could be.
func TestSilentWithoutToken(t *testing.T) {
	nc := dial(t, listenHello(t, "", -time.Second))
	answersStats(t, nc)
}

// failingListener takes no connections for a number of times.
type failingListener struct {
	net.Listener
	left atomic.Int32
}

// Accept implements net.Listener.
func (l *failingListener) Accept() (net.Conn, error) {
	if l.left.Add(-1) >= 0 {
		return nil, errors.New("too many open files")
	}
	return l.Listener.Accept()
}

// TestAcceptFails: an error that lasts is logged once, and is no end.
func TestAcceptFails(t *testing.T) {
	var log bytes.Buffer
	l, err := Listen("127.0.0.1:0", "", 1, jsonrpc.NewServer(Methods(fakeRooms{})), zerolog.New(&log))
	if err != nil {
		t.Fatal(err)
	}
	failing := &failingListener{Listener: l.ln}
	failing.left.Store(3)
	l.ln = failing
	l.Start()
	nc := dial(t, l)
	answersStats(t, nc)
	l.Stop()
	if n := strings.Count(log.String(), "accepting an RPC connection"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, log.String())
	}
}
