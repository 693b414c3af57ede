package evapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"imcd/evapi/evapitest/kit"
)

// fleetConfig is that of engine 7.
func fleetConfig(addr string) Config {
	cfg := testConfig(addr)
	cfg.Engine = "7"
	return cfg
}

// fleetWelcome takes the hello of engine 7; false if there was none.
func (p *fakePeer) fleetWelcome() bool {
	if p.read() != "hello "+testSecret+" 7" {
		return false
	}
	p.send(strings.Replace(welcomeJSON("engine", p.n), enc("send registered outcomes"),
		enc("send registered outcomes fleet"), 1))
	return true
}

// up waits until c is connected.
func up(t *testing.T, c *Conn) {
	t.Helper()
	kit.Eventually(t, "connected", c.Ready)
}

func TestFleetFrames(t *testing.T) {
	t.Parallel()
	frames := make(chan string, 100)
	f := newFake(t, func(p *fakePeer) {
		if p.fleetWelcome() {
			p.polite(func(frame string) { frames <- frame })
		}
	})
	c := startConn(t, fleetConfig(f.addr()), &recorder{})
	up(t, c)
	var many []Shard
	for i := range 65 {
		many = append(many, Shard{Shard: i, Epoch: 2 * i})
	}
	for _, err := range []error{
		c.Fleet(64), c.Own([]Shard{{3, 17}, {1023, 1 << 25}}), c.Own(many),
		c.Move(TxID{Index: 5, Label: 1<<32 - 1}, 1000), c.Move(TxID{Index: 5, Label: 6}, NoSlot), c.Depose("8"),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	if err := c.Park(kit.Context(t), []int{3, 1023}); err != nil {
		t.Error(err)
	}
	var list strings.Builder
	for i := range 64 {
		fmt.Fprintf(&list, "%d %d ", i, 2*i)
	}
	for _, want := range []string{
		`imc.fleet","params":["64"]}`, `imc.own","params":["3 17 1023 33554432 ."]}`,
		`imc.own","params":["` + list.String() + `."]}`, `imc.own","params":["64 128 ."]}`,
		`imc.move","params":["5","-1","1000"]}`, `imc.move","params":["5","6",""]}`,
		`imc.depose","params":["8"]}`, `imc.park","params":["3 1023 ."]}`,
	} {
		if got := kit.Await(t, want, frames); got != `{"jsonrpc":"2.0","method":"`+want {
			t.Errorf("frame %s, want %s", got, want)
		}
	}
	for what, err := range map[string]error{
		"no shards": c.Fleet(0), "3 shards": c.Fleet(3), "2048 shards": c.Fleet(2048),
		"own -1": c.Own([]Shard{{-1, 1}}), "own 1024": c.Own([]Shard{{1024, 1}}), "epoch": c.Own([]Shard{{1, 1<<25 + 1}}),
		"slot 1024": c.Move(TxID{}, 1024), "slot -2": c.Move(TxID{}, -2), "park 1024": c.Park(t.Context(), []int{1024}),
		"depose nobody": c.Depose(""), "depose a quote": c.Depose(`8"`),
	} {
		if err == nil || errors.Is(err, ErrDown) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := c.Park(t.Context(), nil); err != nil {
		t.Errorf("no shards to park: %v", err)
	}
}

// TestAt: Kamailio hears what is owned at a peer, if it has peers, and says which one it is itself.
func TestAt(t *testing.T) {
	t.Parallel()
	frames := make(chan string, 100)
	f := newFake(t, func(p *fakePeer) {
		p.read()
		p.send(`{"jsonrpc":"2.0","method":"imc.welcome","params":{"role":"engine","gen":1,"next_hop":"` + enc("sip:k@x") +
			`","peer":"` + enc("sip:10.0.0.1") + `","features":"` + enc("outcomes fleet peers") + `"}}`)
		p.polite(func(frame string) { frames <- frame })
	})
	h := &peerRecorder{home: make(chan string, 1)}
	c := startConn(t, fleetConfig(f.addr()), h)
	up(t, c)
	if home := kit.Await(t, "welcome", h.home); home != "sip:10.0.0.1" {
		t.Errorf("it is at %q", home)
	}
	if err := c.At("sip:10.0.0.2", []Shard{{3, 17}}); err != nil {
		t.Error(err)
	}
	const want = `{"jsonrpc":"2.0","method":"imc.at","params":["sip:10.0.0.2","3 17 ."]}`
	if got := kit.Await(t, want, frames); got != want {
		t.Errorf("frame %s", got)
	}
	for _, peer := range []string{"", "10.0.0.2", `sip:"`, "sip:a b", "sip:\\", "sip:" + strings.Repeat("a", 300)} {
		if err := c.At(peer, []Shard{{3, 17}}); err == nil || errors.Is(err, ErrAlone) {
			t.Errorf("%q: %v", peer, err)
		}
	}
	if err := c.At("sip:10.0.0.2", []Shard{{1024, 1}}); err == nil {
		t.Error("shard 1024")
	}
}

// peerRecorder hears where Kamailio is.
type peerRecorder struct {
	recorder
	home chan string
}

func (r *peerRecorder) Up(_ *Conn, w Welcome) { r.home <- w.Peer }

// TestParkWaits: until the pong of its window, for the end of its context, or of the connection.
func TestParkWaits(t *testing.T) {
	t.Parallel()
	parked, let := make(chan string), make(chan bool)
	f := newFake(t, func(p *fakePeer) {
		if !p.fleetWelcome() {
			return
		}
		for frames, ping := p.window(); ping != ""; frames, ping = p.window() {
			for _, frame := range frames {
				parked <- frame
				if !<-let {
					return
				}
			}
			p.pong(ping)
		}
	})
	c := startConn(t, fleetConfig(f.addr()), &recorder{})
	up(t, c)
	park := func(ctx context.Context) <-chan error {
		done := make(chan error, 1)
		go func() { done <- c.Park(ctx, []int{1}) }()
		return done
	}
	done := park(t.Context())
	kit.Await(t, "parked", parked)
	select {
	case err := <-done:
		t.Errorf("before the pong: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	let <- true
	if err := kit.Await(t, "the pong", done); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done = park(ctx)
	kit.Await(t, "parked", parked)
	cancel()
	if err := kit.Await(t, "the end of the context", done); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	queued := park(t.Context())
	let <- true
	kit.Await(t, "parked", parked)
	let <- false
	if err := kit.Await(t, "the end of the connection", queued); !errors.Is(err, ErrDown) {
		t.Error(err)
	}
}

// TestAlone: an imc.cfg that knows one engine hears nothing of fleets.
func TestAlone(t *testing.T) {
	t.Parallel()
	f := newFake(t, politeAfterWelcome)
	c := startConn(t, testConfig(f.addr()), &recorder{})
	up(t, c)
	for what, err := range map[string]error{"fleet": c.Fleet(64), "own": c.Own([]Shard{{1, 1}}),
		"move": c.Move(TxID{}, 1), "park": c.Park(t.Context(), []int{1}), "depose": c.Depose("8"),
		"at": c.At("sip:x", []Shard{{1, 1}})} {
		if !errors.Is(err, ErrAlone) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestPlainHello: an older imc.cfg, which does not understand a name, gets a hello without it, but only from an engine
// that owns everything.
func TestPlainHello(t *testing.T) {
	t.Parallel()
	hellos := make(chan string, 10)
	f := newFake(t, func(p *fakePeer) {
		for {
			hello := p.read()
			if hello == "" {
				return
			}
			hellos <- hello
			if hello == "hello "+testSecret {
				p.send(welcomeJSON("engine", p.n))
				p.polite(nil)
			}
		}
	})
	var owner atomic.Bool
	asked := make(chan struct{}, 100)
	cfg := fleetConfig(f.addr())
	cfg.DialTimeout = patience // the next connection would begin with a name again
	cfg.Plain = func() bool {
		asked <- struct{}{}
		return owner.Load()
	}
	c := startConn(t, cfg, &recorder{})
	kit.Await(t, "hello", hellos)
	kit.Await(t, "asked", asked)
	kit.Await(t, "asked again", asked)
	if c.Ready() || len(hellos) > 0 {
		t.Error("a spare is connected")
	}
	owner.Store(true)
	if got := kit.Await(t, "hello", hellos); got != "hello "+testSecret {
		t.Errorf("hello %q", got)
	}
	up(t, c)
	if err := c.Own([]Shard{{1, 1}}); !errors.Is(err, ErrAlone) {
		t.Error(err)
	}
}

// TestRetry: whoever owns something now does not wait for the next try.
func TestRetry(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(p *fakePeer) {
		if p.n > 1 && p.fleetWelcome() {
			p.polite(nil)
		}
	})
	cfg := fleetConfig(f.addr())
	cfg.BackoffMin, cfg.BackoffMax = 24*time.Hour, 24*time.Hour
	c := startConn(t, cfg, &recorder{})
	kit.Eventually(t, "refused", func() bool { return c.State().Err != nil })
	c.Retry()
	c.Retry() // one is enough
	up(t, c)
}

// goneRecorder hears of other engines.
type goneRecorder struct {
	recorder
	gone chan string
}

func (g *goneRecorder) Gone(_ *Conn, engine string) { g.gone <- engine }

func TestGone(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(p *fakePeer) {
		if p.fleetWelcome() {
			p.send(`{"jsonrpc":"2.0","method":"imc.gone","params":{"engine":"8"}}`)
			p.polite(nil)
		}
	})
	h := &goneRecorder{gone: make(chan string, 1)}
	startConn(t, fleetConfig(f.addr()), h)
	if got := kit.Await(t, "gone", h.gone); got != "8" {
		t.Errorf("gone: %q", got)
	}
}

// TestFull: Kamailio says at once that it has no place.
func TestFull(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(p *fakePeer) {
		p.read()
		p.send(`{"jsonrpc":"2.0","method":"imc.full","params":{}}`)
		p.read()
	})
	c := startConn(t, fleetConfig(f.addr()), &recorder{})
	kit.Eventually(t, "there is an error", func() bool {
		s := c.State()
		return s.Err != nil && strings.Contains(s.Err.Error(), "as many engines as")
	})
}

// TestParkedPings: while requests wait in Kamailio for an engine, pings come fast.
func TestParkedPings(t *testing.T) {
	t.Parallel()
	pings := make(chan time.Time, 1000)
	f := newFake(t, func(p *fakePeer) {
		if !p.fleetWelcome() {
			return
		}
		for n := 0; ; n++ {
			_, ping := p.window()
			id := pingID(ping)
			if id == "" {
				return
			}
			pings <- time.Now()
			p.send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"imc.pong","params":{"id":%q,"time":"1.000001","shm_free":5,`+
				`"shm":9,"dropped":0,"parked":%d,"outcomes":""}}`, id, max(0, 20-n)))
		}
	})
	cfg := fleetConfig(f.addr())
	cfg.Heartbeat, cfg.DeadAfter = time.Minute, 2*time.Minute
	c := startConn(t, cfg, &recorder{})
	up(t, c)
	if err := c.Fleet(1); err != nil { // makes the first window
		t.Fatal(err)
	}
	for range 20 {
		kit.Await(t, "a ping", pings)
	}
	kit.Eventually(t, "nothing is parked", func() bool { return c.Stats().Parked == 0 })
}

func TestEngineNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "7", "12345678901234567890", "Abc9", strings.Repeat("x", 32)} {
		if err := checkEngine(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{" ", "a b", `a"`, "a-b", "ä", strings.Repeat("x", 33), "a\n"} {
		cfg := testConfig("127.0.0.1:1")
		cfg.Engine = name
		if _, err := NewConn(cfg, &recorder{}); err == nil {
			t.Errorf("%q is taken", name)
		}
	}
}

// TestFleetEvents: what an older imc.cfg leaves out is zero.
func TestFleetEvents(t *testing.T) {
	t.Parallel()
	message := func(more string) string {
		return `{"jsonrpc":"2.0","method":"imc.message","params":{"tindex":1,"tlabel":2,` + more +
			`"ruri":"` + enc("sip:a@b") + `","msg":"` + enc("x") + `"}}`
	}
	for more, want := range map[string]Message{
		``: {},
		`"age":1500,"tries":3,"slot":1023,"auth_user":"","local":1,"room":0,`: {Age: 1500 * time.Millisecond, Tries: 3,
			Slot: 1023},
	} {
		ev, err := DecodeEvent([]byte(message(more)))
		if err != nil {
			t.Fatal(err)
		}
		if m := ev.(*Message); m.Age != want.Age || m.Tries != want.Tries || m.Slot != want.Slot {
			t.Errorf("%s: %+v", more, m)
		}
	}
	for _, bad := range []string{`{"jsonrpc":"2.0","method":"imc.gone","params":{}}`,
		`{"jsonrpc":"2.0","method":"imc.gone","params":{"engine":7}}`} {
		if _, err := DecodeEvent([]byte(bad)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	ev, err := DecodeEvent([]byte(strings.Replace(welcomeJSON("engine", 3), `"gen":3,`, `"gen":3,"place":5,`, 1)))
	if w, ok := ev.(*WelcomeEvent); err != nil || !ok || w.Place != 5 || slices.Contains(w.Features, "fleet") {
		t.Errorf("%v, %v", ev, err)
	}
}
