package daemon

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/rs/zerolog"

	"imcd/cmd/imcd/internal/config"
	"imcd/evapi"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

func TestMain(m *testing.M) { schematest.Main(m) }

// testConfig is an imcd on free ports, with a Kamailio that is not there.
func testConfig(t *testing.T) *config.Config {
	t.Helper()
	cfg, err := config.Load(config.Sources{Environ: []string{
		"IMCD_EVAPI=127.0.0.1:1", "IMCD_EVAPI_SECRET=x", "RPC_PORT=0", "HTTP_PORT=0",
		"STATE_DIR=" + filepath.Join(t.TempDir(), "a", "b"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestStartStop: the ports answer between both, and nothing is left after.
func TestStartStop(t *testing.T) {
	ctx := kit.Context(t)
	cfg := testConfig(t)
	for range 3 {
		d, err := Start(ctx, cfg, "test", NewHistory(), zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		c, err := evapi.Dial(ctx, d.RPCAddr().String(), "")
		if err != nil {
			t.Fatal(err)
		}
		var rooms []any
		if err := c.Call(ctx, "imc.list_rooms", nil, &rooms); err != nil || rooms == nil || len(rooms) != 0 {
			t.Errorf("rooms are %v, %v", rooms, err)
		}
		if code := get(t, "http://"+d.HTTPAddr().String()+"/readyz"); code != http.StatusServiceUnavailable {
			t.Errorf("readyz says %d without Kamailio", code)
		}
		d.Stop()
		if err := c.Call(ctx, "imc.list_rooms", nil, nil); err == nil {
			t.Error("a stopped imcd answers")
		}
		_ = c.Close()
	}
}

func get(t *testing.T, url string) int {
	t.Helper()
	code, _ := kit.Get(t, url)
	return code
}

// TestFailedStart: what was started before the step that failed is gone.
func TestFailedStart(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	cfg := testConfig(t)
	for key, at := range map[string]*string{"rpc_listen": &cfg.RPC.Listen, "http_listen": &cfg.HTTP.Listen} {
		free := *at
		*at = busy.Addr().String()
		_, err := Start(kit.Context(t), cfg, "test", NewHistory(), zerolog.Nop())
		if wrong := new(config.Error); !errors.As(err, &wrong) || wrong.Key != key {
			t.Errorf("the error is %v, should be about %s", err, key)
		}
		*at = free
	}
	d, err := Start(kit.Context(t), cfg, "test", NewHistory(), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	d.Stop()
}

// TestNoDoors: both ports can be switched off.
func TestNoDoors(t *testing.T) {
	cfg := testConfig(t)
	cfg.RPC.Listen, cfg.HTTP.Listen = "", ""
	d, err := Start(kit.Context(t), cfg, "test", NewHistory(), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	if d.RPCAddr() != nil || d.HTTPAddr() != nil {
		t.Errorf("doors are at %v and %v", d.RPCAddr(), d.HTTPAddr())
	}
	d.Stop()
}

// limited is a context that ends when somebody looks at it once too often.
type limited struct {
	context.Context
	cancel context.CancelFunc
	looks  atomic.Int64 // that are left
}

func limit(t *testing.T, looks int64) *limited {
	ctx, cancel := context.WithCancel(kit.Context(t))
	l := &limited{Context: ctx, cancel: cancel}
	l.looks.Store(looks)
	return l
}

func (l *limited) look() {
	if l.looks.Add(-1) <= 0 {
		l.cancel()
	}
}

func (l *limited) Done() <-chan struct{} { l.look(); return l.Context.Done() }
func (l *limited) Err() error            { l.look(); return l.Context.Err() }

// TestInterruptedStart: who is asked to stop at any moment of the start does not start,
// and leaves nothing that another start would find taken.
func TestInterruptedStart(t *testing.T) {
	cfg := testConfig(t)
	for _, listen := range []*string{&cfg.RPC.Listen, &cfg.HTTP.Listen} {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		*listen = free.Addr().String()
		_ = free.Close()
	}
	for looks := int64(1); looks < 1000; looks++ {
		ctx := limit(t, looks)
		d, err := Start(ctx, cfg, "test", NewHistory(), zerolog.Nop())
		switch interrupted := ctx.looks.Load() <= 0; {
		case err == nil:
			d.Stop()
			if interrupted {
				t.Errorf("started, though it was interrupted after %d looks", looks)
			}
			return // not interrupted any more
		case !interrupted || !errors.Is(err, context.Canceled):
			t.Fatalf("interrupted after %d looks: %v", looks, err)
		}
	}
	t.Error("never started")
}

// TestInterruptedInFleet is TestInterruptedStart on PostgreSQL: at some moments, and when imcd has just begun to share
// the rooms with others.
func TestInterruptedInFleet(t *testing.T) {
	cfg := testConfig(t)
	cfg.DB.URL, cfg.DB.InStateDir = schematest.NewDatabase(t), false
	for looks, started := int64(1), false; !started; looks += 1 + looks/3 {
		ctx := limit(t, looks)
		d, err := Start(ctx, cfg, "test", NewHistory(), zerolog.Nop())
		switch started = err == nil; {
		case started:
			d.Stop()
		case ctx.looks.Load() > 0 || !errors.Is(err, context.Canceled):
			t.Fatalf("interrupted after %d looks: %v", looks, err)
		}
	}
	ctx, cancel := context.WithCancel(kit.Context(t))
	runs := zerolog.HookFunc(func(_ *zerolog.Event, _ zerolog.Level, said string) {
		if said == "imcd is running" {
			cancel()
		}
	})
	_, err := Start(ctx, cfg, "test", NewHistory(), zerolog.New(io.Discard).Hook(runs))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted at the end: %v", err)
	}
}

// TestStopWithSockets: watching clients learn that imcd goes away, and do not hold
// it up, reading or not.
func TestStopWithSockets(t *testing.T) {
	d, err := Start(kit.Context(t), testConfig(t), "test", NewHistory(), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	url := "ws://" + d.HTTPAddr().String() + "/ws"
	var sockets []*websocket.Conn
	for range 2 {
		ws, res, err := websocket.DefaultDialer.DialContext(kit.Context(t), url, nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		defer ws.Close()
		if err := ws.WriteMessage(websocket.TextMessage,
			[]byte(`{"jsonrpc":"2.0","id":1,"method":"imc.subscribe"}`)); err != nil {
			t.Fatal(err)
		}
		sockets = append(sockets, ws)
	}
	if _, b, err := sockets[0].ReadMessage(); err != nil || !strings.Contains(string(b), `"subscription":1`) {
		t.Fatalf("%s, %v", b, err)
	}
	read := make(chan error, 1)
	go func() {
		_, _, err := sockets[0].ReadMessage()
		read <- err
	}()
	d.Stop()
	if err := <-read; !websocket.IsCloseError(err, websocket.CloseGoingAway) {
		t.Errorf("ended with %v", err)
	}
}

// TestAnotherSitesPage: the doors of a running imcd are closed to it.
func TestAnotherSitesPage(t *testing.T) {
	d, err := Start(kit.Context(t), testConfig(t), "test", NewHistory(), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Stop()
	_, res, err := websocket.DefaultDialer.DialContext(kit.Context(t), "ws://"+d.HTTPAddr().String()+"/ws",
		http.Header{"Origin": {"https://evil.example"}})
	if err == nil || res.StatusCode != http.StatusForbidden {
		t.Fatalf("WebSocket of another site: %v", err)
	}
	_ = res.Body.Close()
}
