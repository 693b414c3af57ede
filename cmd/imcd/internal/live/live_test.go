package live

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"imcd/cmd/imcd/internal/relay"
	"imcd/engine"
)

func asClose(err error, e **websocket.CloseError) bool { return errors.As(err, e) }

// TestEvents: what is subscribed to comes, after the answer to imc.subscribe, in
// order, and nothing else.
func TestEvents(t *testing.T) {
	p := open(t, false, nil)
	c := p.dial()
	c.ask("imc.subscribe", `{"events":["join","message"],"rooms":["sip:Chat-*"]}`)
	c.ask("imc.subscribe", `{"events":["kamailio","room_destroyed"],"rooms":["nothing"]}`)
	p.must(p.rooms.CreateRoom(t.Context(), "sip:other@x.org", false, "sip:alice@x.org"))
	p.room("sip:bob@x.org")
	p.say("hello")
	for n, want := range []map[string]any{
		{"subscription": 1.0, "event": "join", "room": "sip:chat-1@x.org", "user": "sip:alice@x.org", "role": "owner"},
		{"subscription": 1.0, "event": "join", "room": "sip:chat-1@x.org", "user": "sip:bob@x.org", "role": "member"},
		{"subscription": 1.0, "event": "message", "sender": "sip:alice@x.org", "seq": 1.0, "size": 5.0},
		{"subscription": 2.0, "event": "kamailio", "kamailio": "k1", "up": false},
	} {
		if n == 3 {
			p.rooms.Linked("k1", false)
		}
		m := c.next()
		if m.Method != "imc.event" {
			t.Fatalf("got %+v", m)
		}
		for k, v := range want {
			if m.Params[k] != v {
				t.Errorf("%v: %s is %v, want %v", want["event"], k, m.Params[k], v)
			}
		}
		if _, ok := m.Params["body"]; ok {
			t.Error("a body is shown")
		}
		if at, err := time.Parse(time.RFC3339Nano, m.Params["time"].(string)); err != nil || time.Since(at) > time.Minute {
			t.Errorf("time is %v", m.Params["time"])
		}
	}
	c.ask("imc.unsubscribe", `{"subscription":1}`)
	p.say("nobody hears of this")
	c.refused("imc.unsubscribe", `{"subscription":1}`, "there is none")
	p.must(p.rooms.DestroyRoom(t.Context(), "sip:other@x.org"))
	p.rooms.Linked("k2", true)
	if m := c.next(); m.Params["kamailio"] != "k2" || m.Params["up"] != true {
		t.Errorf("got %+v", m)
	}
}

// TestBodies are shown if the operator allows it and the client asks.
func TestBodies(t *testing.T) {
	p := open(t, true, nil)
	c := p.dial()
	c.ask("imc.subscribe", `{"events":["message"],"bodies":true}`)
	p.room()
	p.say(`<script>alert("1")</script>`)
	if m := c.next(); m.Params["body"] != `<script>alert("1")</script>` {
		t.Errorf("got %+v", m)
	}
	if got := engine.ShowBody([]byte("\xff\x00")); got.Body != "/wA=" || !got.Base64 {
		t.Errorf("got %+v", got)
	}
	open(t, false, nil).dial().refused("imc.subscribe", `{"bodies":true}`, "event_bodies")
}

func TestRefused(t *testing.T) {
	p := open(t, false, nil)
	c := p.dial()
	many := `{"rooms":["` + strings.Repeat(`a","`, maxPatterns) + `a"]}`
	for _, r := range [][3]string{
		{"imc.subscribe", `{"events":["massage"]}`, `no event \"massage\"`},
		{"imc.subscribe", `{"event":["message"]}`, "event"},
		{"imc.subscribe", `{"events":"message"}`, "events"},
		{"imc.subscribe", `["message"]`, "by name"},
		{"imc.subscribe", `{"rooms":[""]}`, "pattern"},
		{"imc.subscribe", many, "at most"},
		{"imc.bot", `{"name":"sip:mallory@x.org"}`, "no bot of the configuration"},
		{"imc.bot", `{}`, "no SIP URI"},
		{"imc.bot_say", `{"room":"sip:chat-1@x.org","text":"x"}`, "imc.bot"},
		{"imc.overview", `{"sort":"size"}`, "sort"},
		{"imc.overview", `{"limit":-1}`, "limit"},
		{"imc.nothing", `{}`, "not found"},
	} {
		c.refused(r[0], r[1], strings.ReplaceAll(r[2], `\"`, `"`))
	}
	for range maxSubscriptions {
		c.ask("imc.subscribe", `{}`)
	}
	c.refused("imc.subscribe", `{}`, "32 subscriptions")
	answer := string(p.hub.handler.Handle(t.Context(), []byte(`{"jsonrpc":"2.0","id":1,"method":"imc.subscribe"}`)))
	if !strings.Contains(answer, "WebSocket") {
		t.Errorf("at another door: %s", answer)
	}
}

// TestSlowReader is closed with a code that says so, and nobody waits for it.
func TestSlowReader(t *testing.T) {
	p := open(t, false, func(l *Limits) { l.Events, l.Write = 16, time.Minute })
	slow, good := p.dial(), p.dial()
	for _, c := range []*client{slow, good} {
		c.ask("imc.subscribe", `{"events":["kamailio"]}`)
	}
	name := strings.Repeat("k", 64<<10)
	for n := range 240 { // 15 MB, more than sockets hold
		p.rooms.Linked(name, true)
		if _, b, err := good.ws.ReadMessage(); err != nil || !strings.Contains(string(b), name) {
			t.Fatalf("event %d is %d bytes, %v", n, len(b), err)
		}
	}
	if code := slow.closed(); code != CloseSlow {
		t.Errorf("closed with %d", code)
	}
}

// TestDeadReader: one that reads nothing at all is gone, too.
func TestDeadReader(t *testing.T) {
	p := open(t, false, func(l *Limits) { l.Events, l.Write = 16, 50*time.Millisecond })
	p.dial().ask("imc.subscribe", `{"events":["kamailio"]}`)
	name := strings.Repeat("k", 64<<10)
	p.until("gone", func() bool {
		p.rooms.Linked(name, true)
		return p.hub.Count() == 0
	})
}

// TestPing: who answers pings stays, who does not goes.
func TestPing(t *testing.T) {
	p := open(t, false, func(l *Limits) { l.Ping = time.Second })
	mute, good := p.dial(), p.dial()
	pings := 0
	answer := good.ws.PingHandler()
	good.ws.SetPingHandler(func(data string) error {
		if pings++; pings == 3 {
			good.write(`{"jsonrpc":"2.0","id":"still here","method":"imc.stats"}`)
		}
		return answer(data)
	})
	if m := good.next(); m.ID != "still here" || m.Error != nil {
		t.Errorf("got %+v", m)
	}
	p.until("without the one that is mute", func() bool { return p.hub.Count() <= 1 })
	_ = mute.ws.Close()
}

// TestBounds: connections, sizes and kinds of messages.
func TestBounds(t *testing.T) {
	p := open(t, false, func(l *Limits) { l.Conns, l.Request = 2, 1000 })
	large, binary := p.dial(), p.dial()
	_, res, err := websocket.DefaultDialer.DialContext(t.Context(), p.url, nil)
	if err == nil || res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the third: %v", err)
	}
	_ = res.Body.Close()
	large.write(strings.Repeat(" ", 1001))
	if code := large.closed(); code != websocket.CloseMessageTooBig {
		t.Errorf("too large: %d", code)
	}
	if err := binary.ws.WriteMessage(websocket.BinaryMessage, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if code := binary.closed(); code != websocket.CloseUnsupportedData {
		t.Errorf("binary: %d", code)
	}
	p.until("room for others", func() bool { return p.hub.Count() == 0 })
	p.dial().ask("imc.stats", `{}`)
	w := httptest.NewRecorder()
	p.hub.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/ws", nil))
	if w.Code != http.StatusBadRequest {
		t.Errorf("without upgrade: %d", w.Code)
	}
}

// TestStop: clients learn that imcd goes away, even those that do not read.
func TestStop(t *testing.T) {
	p := open(t, false, nil)
	c := p.dial()
	c.ask("imc.subscribe", `{}`)
	p.dial()
	stopped := make(chan struct{})
	go func() { p.hub.Stop(); close(stopped) }()
	if code := c.closed(); code != websocket.CloseGoingAway {
		t.Errorf("closed with %d", code)
	}
	<-stopped
}

func TestOverview(t *testing.T) {
	p := open(t, true, nil)
	p.room("sip:bob@x.org", "sip:echo@x.org")
	p.must(p.rooms.CreateRoom(t.Context(), "sip:quiet@x.org", true, ""))
	p.say("hello")
	p.until("delivered", func() bool { return p.lag("sip:bob@x.org") == 0 })
	c := p.dial()
	var o map[string]any
	p.until("settled", func() bool {
		o = c.ask("imc.overview", `{"sort":"backlog","limit":1}`).(map[string]any)
		d, _ := o["delivery_seconds"].(map[string]any)
		return d["count"] == 1.0
	})
	rooms := o["rooms"].([]any)
	first := rooms[0].(map[string]any)
	if o["found"] != 2.0 || len(rooms) != 1 || first["backlog"] != 1.0 || first["away"] != 1.0 || first["members"] != 3.0 {
		t.Errorf("%+v", o)
	}
	if o["messages"] != 0.0 && o["messages"] != 1.0 || o["kamailios"].([]any)[0].(map[string]any)["up"] != true {
		t.Errorf("%+v", o)
	}
	if o = c.ask("imc.overview", `{"match":"QUIET"}`).(map[string]any); o["found"] != 1.0 {
		t.Errorf("%+v", o)
	}
}

// TestRecent: who asks after an incident gets what has happened, without what was said.
func TestRecent(t *testing.T) {
	p := open(t, true, nil)
	p.must(p.rooms.CreateRoom(t.Context(), "sip:chat-a@x.org", false, "sip:alice@x.org"))
	p.must(p.rooms.Say(t.Context(), "sip:chat-a@x.org", "a secret", "sip:alice@x.org"))
	p.must(p.rooms.RemoveMember(t.Context(), "sip:chat-a@x.org", "sip:alice@x.org"))
	c := p.dial()
	deadline := time.Now().Add(time.Minute)
	for {
		b, err := json.Marshal(c.ask("imc.recent", `{}`))
		p.must(err)
		got := string(b)
		if strings.Contains(got, `"event":"leave"`) && strings.Contains(got, `"event":"room_created"`) &&
			strings.Contains(got, `"delivery_seconds"`) {
			if strings.Contains(got, "secret") || strings.Contains(got, `"event":"message"`) {
				t.Errorf("got %s", got)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %s", got)
		}
	}
}

// TestRecentFromStart: what happens right after Start is kept, however late the goroutine begins.
func TestRecentFromStart(t *testing.T) {
	p := open(t, false, nil)
	source := &countedSource{Source: p.rooms}
	board := &Board{Rooms: p.rooms, Kamailios: func() []relay.State { return nil }, Metrics: prometheus.NewRegistry()}
	r := NewRecent(board, source)
	r.Start()
	defer r.Stop()
	if source.listeners != 1 {
		t.Errorf("%d listeners once it has started", source.listeners)
	}
}

// countedSource counts the listeners that were asked for.
type countedSource struct {
	Source
	listeners int // by the goroutine of Start
}

func (s *countedSource) NewListener(events int, bytes int64) *engine.Listener {
	s.listeners++
	return s.Source.NewListener(events, bytes)
}
