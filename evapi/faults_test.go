package evapi

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"imcd/evapi/evapitest/kit"
	"imcd/evapi/netstring"
)

// TestConnFaults lets Kamailio's first connection go wrong; the second is in
// order, and the engine must get there.
func TestConnFaults(t *testing.T) {
	t.Parallel()
	short := func(c *Config) { c.DialTimeout, c.DeadAfter = 100*time.Millisecond, 200*time.Millisecond }
	after := func(bytes string) func(*fakePeer) {
		return func(p *fakePeer) {
			if p.welcome() {
				_, _ = p.Write([]byte(bytes))
				p.window()
				p.read() // until the engine closes
			}
		}
	}
	tests := []struct {
		name    string
		first   func(*fakePeer)
		wasUp   bool
		adjust  func(*Config)
		decoded uint64 // DecodeErrors
	}{
		{name: "closed at once", first: func(*fakePeer) {}},
		{name: "mute", first: func(p *fakePeer) { p.read(); p.read() }, adjust: short},
		{name: "wrong role", first: func(p *fakePeer) { p.send(welcomeJSON("operator", 1)); p.read(); p.read() }},
		{name: "garbage for a welcome", first: func(p *fakePeer) {
			_,
				_ = p.Write([]byte("HTTP/1.1 400 Bad Request\r\n"))
			p.read()
			p.read()
		}, decoded: 1},
		{name: "bad header secret", first: func(p *fakePeer) {
			p.send(strings.Replace(welcomeJSON("engine", 1), enc("hdr-secret"), enc("a!b\r\nX: y"), 1))
			p.read()
			p.read()
		}},
		{name: "bad next hop", first: func(p *fakePeer) {
			p.send(strings.Replace(welcomeJSON("engine", 1), enc("sip:127.0.0.1:5060"), enc(`sip:x","y`), 1))
			p.read()
			p.read()
		}},
		{name: "dropped after the welcome", first: func(p *fakePeer) { p.welcome() }, wasUp: true},
		{name: "garbage", first: after("\x00\xff garbage"), wasUp: true, decoded: 1},
		{name: "oversize", first: after("131073:"), wasUp: true, decoded: 1},
		{name: "huge length", first: after("99999999999999999999:"), wasUp: true, decoded: 1},
		{name: "leading zero", first: after("01:x,"), wasUp: true, decoded: 1},
		{name: "no comma", first: after("2:{};"), wasUp: true, decoded: 1},
		{name: "no JSON", first: after("2:{x,"), wasUp: true, decoded: 1},
		{name: "empty frame", first: after("0:,"), wasUp: true, decoded: 1},
		{name: "bad params", first: after(string(netstring.Append(nil, []byte(event("imc.pong", `{"id":1}`))))),
			wasUp: true, decoded: 1},
		{name: "half a frame and silence", first: after("100:{"), wasUp: true, adjust: short},
		{name: "no pong", first: func(p *fakePeer) {
			if !p.welcome() {
				return
			}
			for { // talks, but never pongs
				if _, err := p.Write(netstring.Append(nil, []byte(event("imc.registered", `{"aor":""}`)))); err != nil {
					return
				}
				_ = p.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
				_, _ = p.Conn.Read(make([]byte, 1000))
			}
		}, wasUp: true, adjust: short},
		{name: "wrong pong", first: func(p *fakePeer) {
			if !p.welcome() {
				return
			}
			p.window()
			p.send(event("imc.pong", `{"id":"17"}`))
			p.send(event("imc.pong", `{"id":"x"}`))
			p.read()
		}, wasUp: true, adjust: short},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, func(p *fakePeer) {
				if p.n == 1 {
					tt.first(p)
				} else if p.welcome() {
					p.polite(nil)
				}
			})
			cfg := testConfig(f.addr())
			if tt.adjust != nil {
				tt.adjust(&cfg)
			}
			rec := &recorder{}
			c := startConn(t, cfg, rec)
			kit.Eventually(t, "up on the second connection", func() bool { return rec.has("up 2") })
			before := c.Stats().Pongs
			kit.Eventually(t, "a pong", func() bool { return c.Stats().Pongs > before })
			if got := rec.has("up 1"); got != tt.wasUp {
				t.Errorf("first connection up: %v", got)
			}
			if ups, downs := rec.count("up"), rec.count("down"); ups != downs+1 {
				t.Errorf("%d up, %d down", ups, downs)
			}
			if s := c.Stats(); s.DecodeErrors != tt.decoded {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestConnReadsSplitFrames writes the same events cut in every way.
func TestConnReadsSplitFrames(t *testing.T) {
	t.Parallel()
	var stream []byte
	for _, e := range []string{
		event("imc.pong", `{"id":"x","outcomes":"`+enc("a")+` 200"}`),
		event("imc.unheard.of", `{}`),
		event("imc.message", `{"tindex":7,"tlabel":8,"proto":"udp","src_ip":"::1","src_port":1,"auth_user":"","ruri":"",`+
			`"msg":"`+enc(plainRequest)+`"}`),
		event("imc.registered", `{"aor":"`+enc("sip:al@h")+`"}`),
		event("imc.call", `{"tag":"op-1-1","msg":"`+enc("{}")+`"}`),
	} {
		stream = netstring.Append(stream, []byte(e))
	}
	want := []string{"up 1", "result a 200 local=false", "message 7:8", "registered sip:al@h", "call op-1-1 {}"}
	for _, chunk := range []int{1, 2, 3, 7, 100, len(stream)} {
		t.Run(fmt.Sprint(chunk), func(t *testing.T) {
			t.Parallel()
			f := newFake(t, func(p *fakePeer) {
				if !p.welcome() {
					return
				}
				for rest := stream; len(rest) > 0; {
					n := min(chunk, len(rest))
					if _, err := p.Write(rest[:n]); err != nil {
						return
					}
					rest = rest[n:]
				}
				p.polite(nil)
			})
			rec := &recorder{}
			c := startConn(t, testConfig(f.addr()), rec)
			kit.Eventually(t, "the last event", func() bool { return rec.has(want[len(want)-1]) })
			if got := strings.Join(rec.all(), "|"); got != strings.Join(want, "|") {
				t.Errorf("%s", got)
			}
			if s := c.Stats(); s.UnknownEvents != 1 || s.Messages != 1 || s.Results != 1 || s.Registered != 1 || s.Calls != 1 {
				t.Errorf("%+v", s)
			}
			if rec.messages[0].Conn != c || rec.calls[0].Conn != c {
				t.Error("events without their Conn")
			}
		})
	}
}

func TestEventsBeforeTheWelcome(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(p *fakePeer) {
		p.read()
		p.send(event("imc.registered", `{"aor":"`+enc("sip:al@h")+`"}`))
		p.send(welcomeJSON("engine", 1))
		p.polite(nil)
	})
	rec := &recorder{}
	startConn(t, testConfig(f.addr()), rec)
	kit.Eventually(t, "the early event", func() bool { return rec.has("registered sip:al@h") })
	if got := strings.Join(rec.all(), "|"); got != "up 1|registered sip:al@h" {
		t.Error(got)
	}
}

func TestNextHopOverride(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	f := newFake(t, func(p *fakePeer) {
		if p.welcome() {
			p.polite(func(fr string) { got <- fr })
		}
	})
	cfg := testConfig(f.addr())
	cfg.NextHop = "sip:proxy.example.org;lr"
	rec := &recorder{onUp: func(c *Conn) {
		_ = c.Send(Copy{Out: simpleOutgoing(t, "x"), To: "sip:bob@h", CallID: "1"})
	}}
	startConn(t, cfg, rec)
	if d := decodeFrame(t, []byte(<-got)); d.nextHop != cfg.NextHop {
		t.Errorf("%+v", d)
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	b := backoff{min: 100, max: 1000}
	for _, ceiling := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
		if d := b.next(); d < 0 || d > ceiling {
			t.Errorf("%d, ceiling %d", d, ceiling)
		}
	}
	b.reset()
	if d := b.next(); d > 100 {
		t.Errorf("%d after reset", d)
	}
}
