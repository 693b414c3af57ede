package live

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"imcd/cmd/imcd/internal/rpc"
	"imcd/engine"
	"imcd/engine/store"
	"imcd/evapi"
	"imcd/evapi/jsonrpc"
)

// Bots stands between the engine and the Kamailios: copies to a bot it keeps
// back and delivers over the bot's WebSocket. It is an engine.Relay.
type Bots struct {
	next  engine.Relay
	byKey map[string]*bot // by Name.Key; not changed any more
	rooms BotRooms        // set by Start
}

// BotRooms are the methods of the rooms that bots need; *engine.Engine has them.
type BotRooms interface {
	Result(r evapi.Result)
	Registered(aor string)
	Say(ctx context.Context, room, text, from string) error
	Command(ctx context.Context, from store.Name, room, line string) error
}

// NewBots makes a relay for these bots in front of next.
func NewBots(names []store.Name, next engine.Relay) *Bots {
	b := &Bots{next: next, byKey: make(map[string]*bot, len(names))}
	for _, n := range names {
		b.byKey[n.Key()] = &bot{name: n, bots: b}
	}
	return b
}

// Start sets the receiver of the outcomes. Call it before the first Send.
func (b *Bots) Start(rooms BotRooms) { b.rooms = rooms }

// Reply implements engine.Relay.
func (b *Bots) Reply(m *evapi.Message, a evapi.Answer) { b.next.Reply(m, a) }

// Move implements engine.Relay.
func (b *Bots) Move(m *evapi.Message, slot int) error { return b.next.Move(m, slot) }

// Send implements engine.Relay.
func (b *Bots) Send(via *evapi.Conn, c evapi.Copy) (*evapi.Conn, error) {
	if t := b.byKey[strings.ToLower(strings.TrimPrefix(c.To, "sip:"))]; t != nil {
		t.deliver(c)
		return nil, nil
	}
	return b.next.Send(via, c)
}

// Bounds implements engine.Relay.
func (b *Bots) Bounds() evapi.Bounds { return b.next.Bounds() }

// bot is one user that lives on a WebSocket. One that is not there is to the
// engine like a phone that is not registered.
type bot struct {
	name store.Name
	bots *Bots

	mu   sync.Mutex
	conn *conn               // guarded by mu; nil: it is not there
	owed map[string]struct{} // Call-IDs that conn has not acknowledged; guarded by mu
}

// What a bot's state or answer is to the engine, as SIP status codes.
const (
	botHasIt   = 200
	botIsAway  = 480 // kept until it comes
	botIsBusy  = 486 // kept, and tried again in a moment
	botErred   = 500 // likewise
	lowestCode = 300 // of those that a bot can give as an error
)

// maxOwed bounds how many copies a bot may leave unanswered: more than the engine has under
// way at a time, so that only copies that it has given up gather.
const maxOwed = 1 << 14

// deliver sends a copy to the bot. It never blocks; the outcome goes to the engine.
func (t *bot) deliver(c evapi.Copy) {
	if _, ok := c.Out.Origin().(*engine.Origin); !ok { // is typing, a receipt: for phones
		t.bots.rooms.Result(evapi.Result{CallID: c.CallID, Code: botHasIt})
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn == nil {
		t.bots.rooms.Result(evapi.Result{CallID: c.CallID, Code: botIsAway})
		return
	}
	if len(t.owed) >= maxOwed {
		t.conn.end(CloseSlow, "too slow: too many deliveries are not answered")
	}
	if t.conn.ctx.Err() != nil { // it has not left yet
		t.bots.rooms.Result(evapi.Result{CallID: c.CallID, Code: botIsAway})
		return
	}
	select {
	case t.conn.out <- frame("imc.deliver", c.CallID, showDelivery(c.Out.Origin())):
		t.owed[c.CallID] = struct{}{}
	default:
		t.bots.rooms.Result(evapi.Result{CallID: c.CallID, Code: botIsBusy, RetryAfter: time.Second})
	}
}

// attach makes a connection the bot.
func (b *Bots) attach(c *conn, _ context.Context, params json.RawMessage) (any, error) {
	var p struct{ Name string }
	if err := decode(params, &p); err != nil {
		return nil, err
	}
	name, err := engine.ParseName(p.Name, "")
	if err != nil {
		return nil, invalid("name: %q is no SIP URI: %v", clip(p.Name), err)
	}
	t := b.byKey[name.Key()]
	switch {
	case t == nil:
		return nil, &jsonrpc.Error{Code: codeForbidden, Message: "name: " + name.URI() +
			" is no bot of the configuration (bots)"}
	case c.bot != nil && c.bot != t:
		return nil, &jsonrpc.Error{Code: codeForbidden, Message: "name: this connection is " + c.bot.name.URI() + " already"}
	}
	c.bot = t
	c.after = append(c.after, func() { t.enter(c) }) // the answer goes before deliveries
	return map[string]string{"bot": t.name.URI()}, nil
}

// enter puts c in the place of the bot; the connection that had it is closed.
func (t *bot) enter(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn == c {
		return
	}
	if t.conn != nil {
		t.conn.end(CloseReplaced, "another connection is this bot now")
		t.giveUp()
	}
	t.conn, t.owed = c, make(map[string]struct{})
	t.bots.rooms.Registered(t.name.URI())
}

// leave ends that, if c still has the place.
func (t *bot) leave(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn == c {
		t.giveUp()
		t.conn = nil
	}
}

// giveUp returns the copies that were not acknowledged. The caller holds mu.
func (t *bot) giveUp() {
	for id := range t.owed {
		t.bots.rooms.Result(evapi.Result{CallID: id, Code: botIsAway})
	}
	t.owed = nil
}

// acknowledged takes a client's answer to a delivery; false: payload is none. An
// answer to a copy that is not owed (any more) is ignored.
func (t *bot) acknowledged(c *conn, payload []byte) bool {
	r, err := jsonrpc.DecodeResponse(payload)
	if err != nil {
		return false
	}
	var id string
	if json.Unmarshal(r.ID, &id) != nil {
		return true
	}
	code := botHasIt
	if r.Error != nil {
		if code = r.Error.Code; code < lowestCode || code > 699 {
			code = botErred
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.owed[id]; ok && t.conn == c {
		delete(t.owed, id)
		t.bots.rooms.Result(evapi.Result{CallID: id, Code: code})
	}
	return true
}

// say posts a message of the bot that the connection is. It is never taken for a
// command: a bot that repeats all that it hears must not execute commands.
func (b *Bots) say(c *conn, ctx context.Context, params json.RawMessage) (any, error) {
	var p struct{ Room, Text string }
	return c.asBot(ctx, params, &p, func(ctx context.Context, bot store.Name) error {
		return b.rooms.Say(ctx, p.Room, p.Text, bot.URI())
	})
}

// command carries out a command of the bot that the connection is.
func (b *Bots) command(c *conn, ctx context.Context, params json.RawMessage) (any, error) {
	var p struct{ Room, Command string }
	return c.asBot(ctx, params, &p, func(ctx context.Context, bot store.Name) error {
		return b.rooms.Command(ctx, bot, p.Room, p.Command)
	})
}

// asBot reads parameters and does something as the bot that the connection is.
func (c *conn) asBot(ctx context.Context, params json.RawMessage, into any, do func(ctx context.Context,
	bot store.Name) error) (any, error) {
	if err := decode(params, into); err != nil {
		return nil, err
	}
	if c.bot == nil {
		return nil, &jsonrpc.Error{Code: codeForbidden, Message: "say who you are first: imc.bot {name}"}
	}
	ctx, cancel := context.WithTimeout(ctx, sayTimeout)
	defer cancel()
	err := do(ctx, c.bot.name)
	return err == nil, rpc.Coded(err)
}

// sayTimeout bounds how long the answer to a bot may take.
const sayTimeout = 5 * time.Second

// deliveryParams are the parameters of imc.deliver.
type deliveryParams struct {
	Room        string     `json:"room"`
	Notice      bool       `json:"notice,omitempty"` // the room itself speaks: who came, went …
	Seq         uint64     `json:"seq,omitempty"`
	Sender      string     `json:"sender,omitempty"`
	Display     string     `json:"display,omitempty"`
	Time        *time.Time `json:"time,omitempty"`
	ContentType string     `json:"content_type"`
	*engine.BodyInfo
}

func showDelivery(origin any) deliveryParams {
	o, ok := origin.(*engine.Origin)
	if !ok {
		return deliveryParams{}
	}
	p := deliveryParams{Room: engine.ShowURI(o.Room), Notice: o.Message == nil, ContentType: "text/plain",
		BodyInfo: engine.ShowBody([]byte(o.Notice))}
	if m := o.Message; m != nil {
		at := m.At.UTC()
		p.Seq, p.Sender, p.Display, p.Time = m.Seq, engine.ShowURI(m.Sender), m.Display, &at
		p.BodyInfo = engine.ShowBody(m.Body)
		if m.ContentType != "" {
			p.ContentType = m.ContentType
		}
	}
	return p
}
