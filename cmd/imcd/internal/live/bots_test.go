package live

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"imcd/engine"
	"imcd/engine/store"
	"imcd/evapi"
)

const (
	echoURI = "sip:Echo@x.org"
	asEcho  = `{"name":"sip:echo@X.org"}`
)

// delivery reads the next imc.deliver, leaving out notices.
func (c *client) delivery(text string) (id string) {
	c.t.Helper()
	for {
		m := c.next()
		if m.Method != "imc.deliver" {
			c.t.Fatalf("got %+v", m)
		}
		id, _ = m.ID.(string)
		if m.Params["notice"] == true {
			c.ack(id)
			continue
		}
		if m.Params["body"] != text || m.Params["room"] != "sip:chat-1@x.org" || m.Params["sender"] != "sip:alice@x.org" ||
			id == "" {
			c.t.Fatalf("got %+v, want %q", m, text)
		}
		return id
	}
}

func (c *client) ack(id string) {
	c.t.Helper()
	c.write(fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"result":true}`, id))
}

func (c *client) fail(id string, code int) {
	c.t.Helper()
	c.write(fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"error":{"code":%d,"message":"no"}}`, id, code))
}

// TestBotIsDurable: a bot gets what it missed when it comes back, in order, and
// what it has not acknowledged again under the same name.
func TestBotIsDurable(t *testing.T) {
	p := open(t, false, nil)
	p.room("sip:bob@x.org", echoURI)
	p.say("one")
	p.say("two")
	p.until("offline", func() bool { return p.lag("sip:bob@x.org") == 0 && p.lag(echoURI) == 2 })
	c := p.dial()
	c.ask("imc.bot", asEcho)
	first := c.delivery("one")
	c.ack(first)
	second := c.delivery("two")
	_ = c.ws.Close()
	p.until("gone", func() bool { return p.hub.Count() == 0 })
	if n := p.lag(echoURI); n != 1 {
		t.Errorf("owed are %d", n)
	}
	c = p.dial()
	c.ask("imc.bot", asEcho)
	if again := c.delivery("two"); again != second || again == first {
		t.Errorf("%s came again as %s", second, again)
	}
	c.ack("another-id")
	c.ack(first)
	if n := p.lag(echoURI); n != 1 {
		t.Errorf("acknowledged by another name: %d", n)
	}
	c.ack(second)
	p.until("acknowledged", func() bool { return p.lag(echoURI) == 0 })
}

// TestBotRefuses: an error means what the SIP status means.
func TestBotRefuses(t *testing.T) {
	p := open(t, false, nil)
	p.room(echoURI)
	c := p.dial()
	c.ask("imc.bot", asEcho)
	p.say("never again")
	p.say("later again")
	c.fail(c.delivery("never again"), 488)
	later := c.delivery("later again")
	c.fail(later, -32000)
	if again := c.delivery("later again"); again != later {
		t.Errorf("%s came again as %s", later, again)
	}
	c.ack(later)
	p.until("acknowledged", func() bool { return p.lag(echoURI) == 0 })
}

// TestBotSpeaks: as a member does, commands and all, and does not hear itself.
func TestBotSpeaks(t *testing.T) {
	p := open(t, false, nil)
	p.room("sip:bob@x.org")
	c := p.dial()
	c.ask("imc.bot", asEcho)
	c.refused("imc.bot", `{"name":"sip:clock@x.org"}`, "is sip:Echo@x.org already")
	c.refused("imc.bot_say", `{"room":"sip:chat-1@x.org","text":"hello"}`, "Not a member")
	c.refused("imc.bot_say", `{"room":"sip:nowhere@x.org","text":"hello"}`, "no such room")
	c.refused("imc.bot_say", `{"room":"sip:chat-1@x.org","text":""}`, "text")
	c.refused("imc.bot_command", `{"room":"sip:chat-1@x.org","command":"#rooms"}`, "imc.list_rooms")
	c.refused("imc.bot_command", `{"room":"sip:chat-1@x.org","command":"nonsense"}`, "Unknown command")
	c.refused("imc.bot_command", `{"room":"sip:chat-1@x.org","command":""}`, "No command")
	c.refused("imc.bot_command", `{"room":"sip:chat-1@x.org","command":"#destroy"}`, "Not a member")
	p.must(p.rooms.AddMember(t.Context(), "sip:chat-1@x.org", echoURI, ""))
	if m := c.next(); m.Method != "imc.deliver" || m.Params["notice"] != true {
		t.Errorf("got %+v", m)
	} else {
		c.ack(m.ID.(string))
	}
	c.ask("imc.bot_say", `{"room":"sip:chat-1@x.org","text":"hello"}`)
	p.until("heard by bob", func() bool { return p.phones.got("sip:bob@x.org: hello") })
	p.say("to the bot")
	c.ack(c.delivery("to the bot")) // and not its own hello
	p.until("acknowledged", func() bool { return p.lag(echoURI) == 0 })
	c.ask("imc.bot_say", `{"room":"sip:chat-1@x.org","text":"#leave"}`) // is text
	p.until("heard by bob", func() bool { return p.phones.got("sip:bob@x.org: #leave") })
	c.ask("imc.bot_command", `{"room":"sip:chat-1@x.org","command":"#leave"}`)
	in, err := p.rooms.RoomMember(t.Context(), "sip:chat-1@x.org", echoURI)
	if in || err != nil {
		t.Errorf("still there, %v", err)
	}
}

// TestBotAnswersForItself: not for another bot, whose ids it may have guessed.
func TestBotAnswersForItself(t *testing.T) {
	p := open(t, false, nil)
	p.room(echoURI, "sip:clock@x.org")
	echo, clock := p.dial(), p.dial()
	echo.ask("imc.bot", asEcho)
	clock.ask("imc.bot", `{"name":"sip:clock@x.org"}`)
	p.say("hello")
	mine, other := echo.delivery("hello"), clock.delivery("hello")
	echo.ack(other)
	echo.ack(mine)
	p.until("acknowledged", func() bool { return p.lag(echoURI) == 0 })
	if n := p.lag("sip:clock@x.org"); n != 1 {
		t.Errorf("owed are %d", n)
	}
	clock.ack(other)
	p.until("acknowledged by the right one", func() bool { return p.lag("sip:clock@x.org") == 0 })
}

// TestBotIsReplaced: the last connection is the bot.
func TestBotIsReplaced(t *testing.T) {
	p := open(t, false, nil)
	p.room(echoURI)
	old, c := p.dial(), p.dial()
	old.ask("imc.bot", asEcho)
	p.say("hello")
	id := old.delivery("hello")
	c.ask("imc.bot", asEcho)
	if again := c.delivery("hello"); again != id {
		t.Errorf("%s came again as %s", id, again)
	}
	if code := old.closed(); code != CloseReplaced {
		t.Errorf("closed with %d", code)
	}
	c.ack(id)
	p.until("acknowledged", func() bool { return p.lag(echoURI) == 0 })
	c.ask("imc.bot", asEcho) // again is no harm
}

// results are the rooms of a bot that notes outcomes only.
type results struct{ codes map[int]int }

func (r results) Result(res evapi.Result)                                   { r.codes[res.Code]++ }
func (r results) Registered(string)                                         {}
func (r results) Say(context.Context, string, string, string) error         { return nil }
func (r results) Command(context.Context, store.Name, string, string) error { return nil }

// TestBotNeverAnswers: what it leaves unanswered is bounded, and comes back when it
// goes.
func TestBotNeverAnswers(t *testing.T) {
	p := open(t, false, nil)
	rooms := results{map[int]int{}}
	bots := NewBots([]store.Name{{User: "echo", Host: "x.org"}}, nil)
	bots.Start(rooms)
	c, echo := newConn(p.hub), bots.byKey["echo@x.org"]
	defer c.stop()
	echo.enter(c)
	out, err := evapi.NewOutgoing(evapi.Content{From: "<sip:r@x.org>", Body: []byte("b"), Origin: &engine.Origin{}})
	if err != nil {
		t.Fatal(err)
	}
	const more = 10
	for n := range maxOwed + more {
		if _, err := bots.Send(nil, evapi.Copy{Out: out, To: "sip:Echo@x.org", CallID: strconv.Itoa(n)}); err != nil {
			t.Fatal(err)
		}
		if len(c.out) > 0 {
			<-c.out
		}
	}
	if c.ctx.Err() == nil || c.code != CloseSlow || rooms.codes[botIsAway] != more {
		t.Errorf("closed with %d, outcomes %v", c.code, rooms.codes)
	}
	echo.leave(c)
	if rooms.codes[botIsAway] != maxOwed+more || len(rooms.codes) != 1 {
		t.Errorf("outcomes %v", rooms.codes)
	}
}

// TestBotIsBusy: one that does not read what is queued for it gets it later.
func TestBotIsBusy(t *testing.T) {
	p := open(t, false, func(l *Limits) { l.Answers = 3 })
	rooms := results{map[int]int{}}
	bots := NewBots([]store.Name{{User: "echo", Host: "x.org"}}, nil)
	bots.Start(rooms)
	c := newConn(p.hub)
	defer c.stop()
	bots.byKey["echo@x.org"].enter(c)
	out, err := evapi.NewOutgoing(evapi.Content{From: "<sip:r@x.org>", Body: []byte("b"), Origin: &engine.Origin{}})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		if _, err := bots.Send(nil, evapi.Copy{Out: out, To: "sip:echo@x.org", CallID: strconv.Itoa(n)}); err != nil {
			t.Fatal(err)
		}
	}
	if rooms.codes[botIsBusy] != 2 || c.ctx.Err() != nil {
		t.Errorf("outcomes %v", rooms.codes)
	}
}

// TestBotGetsNoTyping: what only phones understand is not delivered, and not kept.
func TestBotGetsNoTyping(t *testing.T) {
	rooms := results{map[int]int{}}
	bots := NewBots([]store.Name{{User: "echo", Host: "x.org"}}, nil)
	bots.Start(rooms)
	out, err := evapi.NewOutgoing(evapi.Content{From: "<sip:r@x.org>", ContentType: "application/im-iscomposing+xml",
		Body: []byte("<x/>")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bots.Send(nil, evapi.Copy{Out: out, To: "sip:echo@x.org", CallID: "1"}); err != nil ||
		rooms.codes[botHasIt] != 1 {
		t.Errorf("%v, outcomes %v", err, rooms.codes)
	}
}
