package relay

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"imcd/evapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counter counts what reaches the rooms.
type counter struct{ messages, results, wakes atomic.Int64 }

func (c *counter) Message(*evapi.Message)     { c.messages.Add(1) }
func (c *counter) Result(evapi.Result)        { c.results.Add(1) }
func (c *counter) Wake()                      { c.wakes.Add(1) }
func (c *counter) Drained()                   {}
func (c *counter) Lost(*evapi.Conn)           {}
func (c *counter) Receipt(*evapi.Receipt)     {}
func (c *counter) Request(*evapi.Message)     {}
func (c *counter) Registered(string)          {}
func (c *counter) Devices(evapi.Registration) {}
func (c *counter) Found(evapi.Registration)   {}
func (c *counter) Unheard()                   {}
func (c *counter) Linked(string, bool)        {}

func (c *counter) Welcomed(string, evapi.Welcome) {}
func (c *counter) Call(*evapi.Call)               {}

// group is one of two Kamailios that nobody listens for. It is not connected.
func group(t *testing.T) *Group {
	t.Helper()
	g, err := New([]evapi.Config{{Addr: "127.0.0.1:1", Secret: "x"}, {Addr: "127.0.0.1:2", Secret: "x"}}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestNothingConnected(t *testing.T) {
	g := group(t)
	rooms := &counter{}
	g.Serve(rooms)
	g.Start(rooms)
	defer g.Stop()
	names, connected := g.Missing()
	if connected || len(names) != 2 {
		t.Errorf("missing are %v, connected is %v", names, connected)
	}
	out, err := evapi.NewOutgoing(evapi.Content{From: "<sip:r@x>", Body: []byte("b")})
	if err != nil {
		t.Fatal(err)
	}
	for _, via := range []*evapi.Conn{nil, g.conns[0], g.conns[1]} {
		if _, err := g.Send(via, evapi.Copy{Out: out, To: "sip:u@x", CallID: "1"}); !errors.Is(err, evapi.ErrDown) {
			t.Errorf("the error is %v", err)
		}
	}
	g.Flush(t.Context()) // has nothing to wait for
}

// TestRefuse: no message reaches the rooms after it; results do.
func TestRefuse(t *testing.T) {
	g := group(t)
	rooms := &counter{}
	g.calls = rooms
	g.Serve(rooms)
	m := &evapi.Message{Conn: g.conns[0]}
	g.Message(m)
	g.Refuse(5 * time.Second)
	g.Message(m)
	g.Message(m)
	g.Result(g.conns[0], evapi.Result{})
	g.Up(g.conns[0], evapi.Welcome{})
	if rooms.messages.Load() != 1 || rooms.results.Load() != 1 || rooms.wakes.Load() != 1 || g.refused.Load() != 2 {
		t.Errorf("%+v, %d refused", rooms, g.refused.Load())
	}
}

// TestOutcomesWhileLoading: rooms that are being loaded, and so get no message yet, get the outcomes of their copies.
func TestOutcomesWhileLoading(t *testing.T) {
	g := group(t)
	rooms := &counter{}
	g.Result(g.conns[0], evapi.Result{}) // nobody has sent a copy
	g.Outcomes(rooms)
	g.Result(g.conns[0], evapi.Result{})
	g.Message(&evapi.Message{Conn: g.conns[0]})
	if rooms.messages.Load() != 0 || rooms.results.Load() != 1 {
		t.Errorf("%d messages, %d outcomes", rooms.messages.Load(), rooms.results.Load())
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(group(t).Collector()); err != nil {
		t.Fatal(err)
	}
	n, err := testutil.GatherAndCount(reg, "imc_evapi_up", "imc_evapi_frames_in_total", "imc_shutdown_refused_total")
	if err != nil || n != 5 {
		t.Errorf("%d metrics, %v", n, err)
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}
