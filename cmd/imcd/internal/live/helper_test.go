package live

import (
	"context"
	"encoding/json"
	"maps"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"imcd/cmd/imcd/internal/relay"
	"imcd/cmd/imcd/internal/rpc"
	"imcd/engine"
	"imcd/engine/store"
	"imcd/evapi"
	"imcd/evapi/jsonrpc"
	"imcd/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// phones is a relay behind which everybody has a phone that answers 200.
type phones struct {
	mu     sync.Mutex
	rooms  *engine.Engine
	copies []string // "user: body"; guarded by mu
}

// Move says that there is no other engine.
func (*phones) Move(*evapi.Message, int) error { return evapi.ErrAlone }

func (p *phones) Reply(*evapi.Message, evapi.Answer) {}

func (p *phones) Bounds() evapi.Bounds { return evapi.Bounds{Paced: true} }

func (p *phones) Send(_ *evapi.Conn, c evapi.Copy) (*evapi.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := ""
	if o, ok := c.Out.Origin().(*engine.Origin); ok && o.Message != nil {
		text = string(o.Message.Body)
	}
	p.copies = append(p.copies, c.To+": "+text)
	p.rooms.Result(evapi.Result{CallID: c.CallID, Code: 200})
	return nil, nil
}

func (p *phones) got(line string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.copies {
		if c == line {
			return true
		}
	}
	return false
}

// place is an engine with a real database and its WebSocket.
type place struct {
	t      *testing.T
	rooms  *engine.Engine
	phones *phones
	hub    *Hub
	url    string
}

func open(t *testing.T, bodies bool, change func(*Limits)) *place {
	t.Helper()
	db, err := schema.Open(t.Context(), "sqlite://"+filepath.Join(t.TempDir(), "imcd.db"),
		schema.Options{RoomsTable: "imc_rooms", MembersTable: "imc_members", Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	p := &place{t: t, phones: &phones{}}
	bots := NewBots([]store.Name{{User: "Echo", Host: "x.org"}, {User: "clock", Host: "x.org"}}, p.phones)
	cfg, reg := engine.DefaultConfig(), prometheus.NewRegistry()
	cfg.KeepOrigins = true
	cfg.ResultTimeout = time.Hour // nothing is repeated because of it
	if p.rooms, err = engine.New(cfg, db, bots, reg, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	bots.Start(p.rooms)
	p.phones.rooms = p.rooms
	if err := p.rooms.Start(t.Context(), store.Fleet{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		p.rooms.Stop(ctx)
	})
	methods := rpc.Methods(p.rooms)
	maps.Copy(methods, Methods(bots))
	board := &Board{Rooms: p.rooms, Kamailios: func() []relay.State { return []relay.State{{Name: "k", Up: true}} },
		Metrics: reg}
	maps.Copy(methods, board.Methods())
	recent := NewRecent(board, p.rooms)
	maps.Copy(methods, recent.Methods())
	recent.Start()
	t.Cleanup(recent.Stop)
	limits := DefaultLimits()
	if change != nil {
		change(&limits)
	}
	p.hub = NewHub(jsonrpc.NewServer(methods), p.rooms, bodies, limits, zerolog.Nop())
	server := httptest.NewServer(p.hub)
	t.Cleanup(func() { p.hub.Stop(); server.Close() })
	p.url = "ws" + strings.TrimPrefix(server.URL, "http")
	return p
}

// must fails the test if an operator's action failed.
func (p *place) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// room makes chat-1 with alice as owner and these members.
func (p *place) room(members ...string) {
	p.t.Helper()
	p.must(p.rooms.CreateRoom(p.t.Context(), "sip:chat-1@x.org", false, "sip:alice@x.org"))
	for _, m := range members {
		p.must(p.rooms.AddMember(p.t.Context(), "sip:chat-1@x.org", m, ""))
	}
}

func (p *place) say(text string) {
	p.t.Helper()
	p.must(p.rooms.Say(p.t.Context(), "sip:chat-1@x.org", text, "sip:alice@x.org"))
}

// lag is what chat-1 owes to a member.
func (p *place) lag(user string) uint64 {
	p.t.Helper()
	d, err := p.rooms.RoomState(p.t.Context(), "sip:chat-1@x.org")
	p.must(err)
	for _, m := range d.Members {
		if strings.EqualFold(m.User, user) {
			return m.Lag
		}
	}
	p.t.Fatalf("%s is not in the room: %+v", user, d)
	return 0
}

// until waits for something that nobody announces.
func (p *place) until(what string, cond func() bool) {
	p.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !cond() {
		if time.Now().After(deadline) {
			p.t.Fatal("never " + what)
		}
		<-time.After(time.Millisecond)
	}
}

// client is the other end of a WebSocket.
type client struct {
	t  *testing.T
	ws *websocket.Conn
	id int
}

// incoming is anything that a client gets.
type incoming struct {
	ID     any
	Method string
	Params map[string]any
	Result any
	Error  *jsonrpc.Error
}

func (p *place) dial() *client {
	p.t.Helper()
	ws, res, err := websocket.DefaultDialer.DialContext(p.t.Context(), p.url, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	_ = res.Body.Close()
	p.t.Cleanup(func() { _ = ws.Close() })
	return &client{t: p.t, ws: ws}
}

func (c *client) write(text string) {
	c.t.Helper()
	if err := c.ws.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

// next reads one message.
func (c *client) next() incoming {
	c.t.Helper()
	m, err := c.read()
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

func (c *client) read() (m incoming, err error) {
	if err := c.ws.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		return m, err
	}
	return m, c.ws.ReadJSON(&m)
}

// call asks; the answer must be the next message but for notices to a bot.
func (c *client) call(method, params string) incoming {
	c.t.Helper()
	c.id++
	request, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": c.id, "method": method,
		"params": json.RawMessage(params)})
	if err != nil {
		c.t.Fatal(err)
	}
	c.write(string(request))
	m := c.next()
	for m.Params["notice"] == true {
		c.ack(m.ID.(string))
		m = c.next()
	}
	if m.ID != float64(c.id) {
		c.t.Fatalf("%s is answered %+v", method, m)
	}
	return m
}

// ask is call, and must not be refused.
func (c *client) ask(method, params string) any {
	c.t.Helper()
	m := c.call(method, params)
	if m.Error != nil {
		c.t.Fatalf("%s %s: %v", method, params, m.Error)
	}
	return m.Result
}

// refused is call, and must be refused with words.
func (c *client) refused(method, params, words string) {
	c.t.Helper()
	if m := c.call(method, params); m.Error == nil || !strings.Contains(m.Error.Message, words) {
		c.t.Errorf("%s %s: %+v, %v, want an error with %q", method, params, m, m.Error, words)
	}
}

// closed reads until the connection is closed and returns the code.
func (c *client) closed() int {
	c.t.Helper()
	if err := c.ws.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		c.t.Fatal(err)
	}
	for {
		_, _, err := c.ws.ReadMessage()
		if e := new(websocket.CloseError); asClose(err, &e) {
			return e.Code
		}
		if err != nil {
			c.t.Fatalf("ended without a close: %v", err)
		}
	}
}
