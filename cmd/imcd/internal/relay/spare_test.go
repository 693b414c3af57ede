package relay

import (
	"sync/atomic"
	"testing"

	"imcd/evapi"
	"imcd/evapi/evapitest/kit"
)

// linked counts Kamailios that the rooms know of.
type linked struct {
	counter
	up, welcomed atomic.Int64
}

func (l *linked) Welcomed(string, evapi.Welcome) { l.welcomed.Add(1) }

func (l *linked) Linked(_ string, up bool) {
	if up {
		l.up.Add(1)
	} else {
		l.up.Add(-1)
	}
}

// TestSpareConnects: an imcd without rooms is connected, hands requests back, and hears of engines that have lost
// their connection. Its rooms, once there are any, learn of the connected Kamailios.
func TestSpareConnects(t *testing.T) {
	a, b := newEngineKamailio(t, "outcomes fleet"), newEngineKamailio(t, "outcomes fleet")
	g := engineAt(t, a, b)
	gone := make(chan string, 1)
	g.Join(Others{Gone: func(engine string) { gone <- engine }, Sure: func() bool { return true }})
	rooms := &linked{}
	g.Start(rooms)
	defer g.Stop()
	const message = `{"jsonrpc":"2.0","method":"imc.message","params":` +
		`{"tindex":8,"tlabel":9,"ruri":"c2lwOnJAeA==","msg":"TUVTU0FHRQ=="}}`
	connected := func() bool { names, _ := g.Missing(); return len(names) == 0 }
	kit.Eventually(t, "connected", connected)
	a.say(`{"jsonrpc":"2.0","method":"imc.gone","params":{"engine":"5"}}`)
	if engine := kit.Await(t, "an engine that is gone", gone); engine != "5" {
		t.Errorf("engine %s is gone", engine)
	}
	a.say(message)
	kit.Eventually(t, "the request comes back", func() bool { return a.has(`imc.move","params":["8","9",""]}`) })
	b.say(`{"jsonrpc":"2.0","method":"imc.registered","params":{"aor":"c2lwOnVAeA=="}}`)
	b.cut()
	// That it was away may be over before anybody looks.
	kit.Eventually(t, "it is back", func() bool { return connected() && g.Connections()[1].Stats().Reconnects == 1 })
	g.Serve(rooms)
	if rooms.messages.Load() != 0 || rooms.up.Load() != 2 || rooms.welcomed.Load() != 2 || rooms.wakes.Load() != 2 {
		t.Errorf("%d messages, %d Kamailios, %d welcomes", rooms.messages.Load(), rooms.up.Load(), rooms.welcomed.Load())
	}
	a.say(message)
	kit.Eventually(t, "the request", func() bool { return rooms.messages.Load() == 1 })
	b.cut()
	kit.Eventually(t, "it is back", func() bool { return rooms.up.Load() == 2 && rooms.welcomed.Load() == 3 })
}

// TestSureOfItself: an older Kamailio gives everything to the engine that says hello last, so an owner that has not
// seen for a moment that it is one says nothing.
func TestSureOfItself(t *testing.T) {
	g := engineAt(t, newEngineKamailio(t, "outcomes"))
	sure := false
	g.Join(Others{Sure: func() bool { return sure }})
	g.Shards(4)
	g.Own([]evapi.Shard{{Shard: 0, Epoch: 3}})
	if g.plain() {
		t.Error("an owner that is not sure takes everything")
	}
	sure = true
	if !g.plain() {
		t.Error("the owner takes nothing")
	}
}
