package kamailiocfg_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"imcd/cmd/imcd/imcdtest"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// programs are imcd and imcctl, which all tests of this package share.
var programs = imcdtest.Both()

func TestMain(m *testing.M) { imcdtest.MainOf(m, programs) }

// hello is a peer that has been welcomed.
func hello(t *testing.T, k *evapitest.Kamailio, secret string) (*evapitest.Peer, evapitest.Event) {
	t.Helper()
	p := kit.Peer(t, k)
	send(t, p, "hello "+secret)
	return p, next(t, p, "imc.welcome")
}

func send(t *testing.T, p *evapitest.Peer, payload string) {
	t.Helper()
	if err := p.Send(payload); err != nil {
		t.Fatal(err)
	}
}

// next is the next frame, which must be of that method.
func next(t *testing.T, p *evapitest.Peer, method string) evapitest.Event {
	t.Helper()
	ev, err := p.Next(kit.Context(t))
	for err == nil && ev.Method == "imc.pong" && ev.Params["id"] == "keep" {
		ev, err = p.Next(kit.Context(t)) // of nextPinging
	}
	if err != nil {
		t.Fatalf("waiting for %s: %v", method, err)
	}
	if ev.Method != method {
		t.Fatalf("want %s, got %s", method, ev.Raw)
	}
	return ev
}

// nextBut is next that passes over frames of another method.
func nextBut(t *testing.T, p *evapitest.Peer, method, but string) evapitest.Event {
	t.Helper()
	for {
		ev, err := p.Next(kit.Context(t))
		switch {
		case err != nil:
			t.Fatalf("waiting for %s: %v", method, err)
		case ev.Method == method:
			return ev
		case ev.Method != but:
			t.Fatalf("want %s, got %s", method, ev.Raw)
		}
	}
}

// barrier makes sure that Kamailio has sent p nothing but what has been taken.
func barrier(t *testing.T, p *evapitest.Peer) {
	t.Helper()
	send(t, p, call("imc.ping", "barrier"))
	if ev := next(t, p, "imc.pong"); ev.Params["id"] != "barrier" {
		t.Fatalf("pong %s", ev.Raw)
	}
}

// call is a frame of imcd with parameters that need no escaping.
func call(method string, params ...string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","method":"%s","params":["%s"]}`, method, strings.Join(params, `","`))
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func unb64(t *testing.T, s string) string {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return string(b)
}

// said is the outcome of a request sent in the background.
type said struct {
	code   int
	reason string
	after  string // Retry-After
	not    string // Unsupported
	err    error
}

func (s said) String() string { return fmt.Sprintf("%d %s %s %v", s.code, s.reason, s.after, s.err) }

// do sends a request in the background.
func do(t *testing.T, u *evapitest.UA, r evapitest.Request) <-chan said {
	t.Helper()
	ctx := kit.Context(t)
	out := make(chan said, 1)
	go func() {
		res, err := u.Do(ctx, r)
		if err != nil {
			out <- said{err: err}
			return
		}
		s := said{code: res.StatusCode, reason: res.Reason}
		if h := res.GetHeader("Retry-After"); h != nil {
			s.after = h.Value()
		}
		if h := res.GetHeader("Unsupported"); h != nil {
			s.not = h.Value()
		}
		out <- s
	}()
	return out
}

// say is do with a text MESSAGE.
func say(t *testing.T, u *evapitest.UA, uri, text string) <-chan said {
	t.Helper()
	return do(t, u, evapitest.Request{Method: "MESSAGE", URI: uri, Body: []byte(text)})
}

// expect waits for the outcome of a request.
func expect(t *testing.T, got <-chan said, code int) said {
	t.Helper()
	select {
	case s := <-got:
		if s.err != nil || s.code != code {
			t.Errorf("want %d, got %s", code, s)
		}
		return s
	case <-kit.Context(t).Done():
		t.Fatalf("no answer, want %d", code)
	}
	return said{}
}

// nextPinging is next for what comes with a pong, or takes longer than Kamailio
// waits for a ping.
func nextPinging(t *testing.T, p *evapitest.Peer, method string) evapitest.Event {
	t.Helper()
	ctx := kit.Context(t)
	for {
		send(t, p, call("imc.ping", "keep"))
		wait, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		for {
			ev, err := p.Next(wait)
			if err != nil {
				break
			}
			if ev.Method == method {
				cancel()
				return ev
			}
			if ev.Method != "imc.pong" {
				cancel()
				t.Fatalf("want %s, got %s", method, ev.Raw)
			}
		}
		cancel()
		if ctx.Err() != nil {
			t.Fatalf("no %s", method)
		}
	}
}
