package relay

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"imcd/evapi"
	"imcd/evapi/evapitest/kit"
	"imcd/evapi/netstring"
)

// engineKamailio is a listener that welcomes engines, pongs, and keeps all other frames.
type engineKamailio struct {
	ln       net.Listener
	features string
	peer     string // fixed before the first connection
	loops    sync.WaitGroup

	mu     sync.Mutex
	conn   net.Conn // the latest; guarded by mu
	frames []string // guarded by mu
	mute   bool     // it does not pong; guarded by mu
}

func newEngineKamailio(t *testing.T, features string) *engineKamailio {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &engineKamailio{ln: ln, features: features}
	k.loops.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			k.mu.Lock()
			k.conn = conn
			k.mu.Unlock()
			k.serve(conn)
			conn.Close()
		}
	})
	t.Cleanup(func() {
		ln.Close()
		k.cut()
		k.loops.Wait()
	})
	return k
}

// cut ends the connection.
func (k *engineKamailio) cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.conn != nil {
		k.conn.Close()
	}
}

// say sends a frame.
func (k *engineKamailio) say(text string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, _ = k.conn.Write(netstring.Append(nil, []byte(text))) // a test sees that it did not come
}

func (k *engineKamailio) serve(conn net.Conn) {
	in := netstring.NewReader(conn, 1<<20)
	say := func(text string) { _, _ = conn.Write(netstring.Append(nil, []byte(text))) }
	if b, err := in.Read(); err != nil || !strings.HasPrefix(string(b), "hello x") {
		return
	}
	say(`{"jsonrpc":"2.0","method":"imc.welcome","params":{"role":"engine","gen":1,"peer":"` +
		base64.StdEncoding.EncodeToString([]byte(k.peer)) + `","features":"` +
		base64.StdEncoding.EncodeToString([]byte(k.features)) + `"}}`)
	for {
		b, err := in.Read()
		if err != nil {
			return
		}
		const ping = `{"jsonrpc":"2.0","method":"imc.ping","params":["`
		k.mu.Lock()
		mute := k.mute
		id, pings := strings.CutPrefix(string(b), ping)
		if !pings {
			k.frames = append(k.frames, strings.TrimPrefix(string(b), `{"jsonrpc":"2.0","method":"`))
		}
		k.mu.Unlock()
		if pings && !mute {
			say(fmt.Sprintf(`{"jsonrpc":"2.0","method":"imc.pong","params":{"id":%q}}`, strings.TrimSuffix(id, `"]}`)))
		}
	}
}

// has reports whether these frames have come, and no others, and forgets them then.
func (k *engineKamailio) has(want ...string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !slices.Equal(k.frames, want) {
		return false
	}
	k.frames = nil
	return true
}

func (k *engineKamailio) addr() string { return k.ln.Addr().String() }

// engineAt is the group of engine 7 at Kamailios.
func engineAt(t *testing.T, kamailios ...*engineKamailio) *Group {
	t.Helper()
	var cfgs []evapi.Config
	for _, k := range kamailios {
		cfgs = append(cfgs, evapi.Config{Addr: k.addr(), Secret: "x", Engine: "7", Fanout: evapi.LaneRPC})
	}
	g, err := New(cfgs, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// startGroup serves with no rooms, and returns once g is connected to the first n Kamailios. It ends with the test.
func startGroup(t *testing.T, g *Group, n int) *counter {
	t.Helper()
	rooms := &counter{}
	g.Serve(rooms)
	g.Start(rooms)
	t.Cleanup(g.Stop)
	awaitConnected(t, g, n)
	return rooms
}

func awaitConnected(t *testing.T, g *Group, n int) {
	t.Helper()
	for _, c := range g.conns[:n] {
		kit.Eventually(t, "connected", c.Ready)
	}
}

// TestKamailiosLearnTheFleet: every Kamailio learns what this engine owns, also after a lost connection.
func TestKamailiosLearnTheFleet(t *testing.T) {
	a, b := newEngineKamailio(t, "outcomes fleet"), newEngineKamailio(t, "outcomes fleet")
	g := engineAt(t, a, b)
	startGroup(t, g, 2)
	g.Depose("5")
	g.Shards(4)
	g.Own([]evapi.Shard{{Shard: 0, Epoch: 3}, {Shard: 2, Epoch: 5}})
	all := []string{`imc.depose","params":["5"]}`, `imc.fleet","params":["4"]}`, `imc.own","params":["0 3 2 5 ."]}`}
	for _, k := range []*engineKamailio{a, b} {
		kit.Eventually(t, "both know", func() bool { return k.has(all...) })
	}
	b.cut()
	kit.Eventually(t, "it knows again", func() bool { return b.has(all...) })
	awaitConnected(t, g, 2)
	if err := g.Park(kit.Context(t), []int{2}); err != nil {
		t.Error(err)
	}
	for _, k := range []*engineKamailio{a, b} {
		if !k.has(`imc.park","params":["2 ."]}`) {
			t.Error("Park has returned before Kamailio knew")
		}
	}
	a.cut()
	kit.Eventually(t, "it knows the rest", func() bool {
		return a.has(all[0], all[1], `imc.own","params":["0 3 ."]}`)
	})
}

// TestPeers: every Kamailio learns what is owned at other hosts: only what is new, and all of it after a lost
// connection.
func TestPeers(t *testing.T) {
	a, b := newEngineKamailio(t, "outcomes fleet"), newEngineKamailio(t, "outcomes fleet peers")
	b.peer = "sip:10.0.0.1"
	g := engineAt(t, a, b)
	if home := g.Home(); home != "" {
		t.Errorf("it is at %q", home)
	}
	startGroup(t, g, 2)
	if home := g.Home(); home != b.peer {
		t.Errorf("it is at %q", home)
	}
	g.At(4, map[string][]evapi.Shard{"sip:2": {{Shard: 0, Epoch: 3}, {Shard: 2, Epoch: 5}}})
	g.At(4, map[string][]evapi.Shard{"sip:2": {{Shard: 0, Epoch: 3}, {Shard: 2, Epoch: 5}}})
	g.At(4, map[string][]evapi.Shard{"sip:2": {{Shard: 0, Epoch: 4}}, "sip:3": {{Shard: 2, Epoch: 6}}})
	kit.Eventually(t, "it knows", func() bool {
		return b.has(`imc.fleet","params":["4"]}`, `imc.at","params":["sip:2","0 3 2 5 ."]}`,
			`imc.at","params":["sip:2","0 4 ."]}`, `imc.at","params":["sip:3","2 6 ."]}`) ||
			b.has(`imc.fleet","params":["4"]}`, `imc.at","params":["sip:2","0 3 2 5 ."]}`,
				`imc.at","params":["sip:3","2 6 ."]}`, `imc.at","params":["sip:2","0 4 ."]}`)
	})
	b.cut()
	kit.Eventually(t, "it knows again", func() bool {
		return b.has(`imc.fleet","params":["4"]}`, `imc.at","params":["sip:2","0 4 ."]}`,
			`imc.at","params":["sip:3","2 6 ."]}`)
	})
	kit.Eventually(t, "the one without peers hears nothing of them", func() bool {
		return a.has(`imc.fleet","params":["4"]}`)
	})
}

// TestFleetAbsent: a Kamailio that is away, or knows no fleets, holds nobody up.
func TestFleetAbsent(t *testing.T) {
	old, away := newEngineKamailio(t, "outcomes"), newEngineKamailio(t, "outcomes fleet")
	away.ln.Close()
	g := engineAt(t, old, away)
	if g.plain() {
		t.Error("it takes everything at its start")
	}
	startGroup(t, g, 1)
	g.Shards(4)
	g.Own([]evapi.Shard{{Shard: 0, Epoch: 3}})
	if !g.plain() {
		t.Error("it does not take what it owns")
	}
	if err := g.Park(kit.Context(t), []int{0}); err != nil {
		t.Error(err)
	}
	if err := g.Move(&evapi.Message{Conn: g.conns[0]}, 5); !errors.Is(err, evapi.ErrAlone) {
		t.Errorf("a request cannot be moved there: %v", err)
	}
	if err := g.Move(&evapi.Message{Conn: g.conns[1]}, 5); err != nil {
		t.Errorf("nobody waits for that answer: %v", err)
	}
	if !old.has() {
		t.Error("the older Kamailio got frames of a fleet")
	}
}

// TestParkEnds: a Kamailio that does not pong holds Park up for its deadline.
func TestParkEnds(t *testing.T) {
	k := newEngineKamailio(t, "outcomes fleet")
	g := engineAt(t, k)
	startGroup(t, g, 1)
	k.mu.Lock()
	k.mute = true
	k.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- g.Park(ctx, []int{1}) }()
	kit.Eventually(t, "parked", func() bool { return k.has(`imc.park","params":["1 ."]}`) })
	cancel()
	if err := kit.Await(t, "the end", done); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestLeave: Kamailios keep requests for whoever takes the rooms over. One that knows no fleets hears that
// this imcd ends.
func TestLeave(t *testing.T) {
	k, old := newEngineKamailio(t, "outcomes fleet"), newEngineKamailio(t, "outcomes")
	g := engineAt(t, k, old)
	rooms := startGroup(t, g, 2)
	g.Shards(4)
	g.Own([]evapi.Shard{{Shard: 0, Epoch: 3}, {Shard: 2, Epoch: 5}})
	if err := g.Leave(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	want := []string{`imc.fleet","params":["4"]}`, `imc.own","params":["0 3 2 5 ."]}`, `imc.park","params":["0 2 ."]}`}
	if !k.has(want...) {
		t.Error("Leave has returned before Kamailio knew")
	}
	g.Message(&evapi.Message{Conn: g.conns[0], Tx: evapi.TxID{Index: 5, Label: 6}, Err: errors.New("not read")})
	kit.Eventually(t, "it is handed back", func() bool { return k.has(`imc.move","params":["5","6",""]}`) })
	m := &evapi.Message{Conn: g.conns[1], Tx: evapi.TxID{Index: 5, Label: 7}, Err: errors.New("not read")}
	g.Message(m)
	if rooms.messages.Load() != 1 {
		t.Error("the rooms did not get what Kamailio cannot keep")
	}
	g.Refuse(time.Second)
	g.Message(m)
	kit.Eventually(t, "it is answered", func() bool {
		old.mu.Lock()
		defer old.mu.Unlock()
		return len(old.frames) == 1 && strings.HasPrefix(old.frames[0], "imc.reply")
	})
	if n := rooms.messages.Load(); n != 1 || g.refused.Load() != 1 {
		t.Errorf("the rooms got %d, %d were refused", n, g.refused.Load())
	}
}
