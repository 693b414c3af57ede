package live

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"imcd/engine"
	"imcd/evapi/jsonrpc"
)

// Bounds of one connection's subscriptions.
const (
	maxSubscriptions = 32
	maxPatterns      = 100
	maxPattern       = 200 // bytes
)

// storedWithin bounds how long the answer to imc.subscribe waits for the database.
const storedWithin = 4 * time.Second

// Error codes of JSON-RPC beside those that rpc has.
const (
	codeNoSocket  = -32010 // the method needs a WebSocket
	codeForbidden = -32011 // the operator does not allow it
	codeTooMany   = -32012
)

// subscription is that of one imc.subscribe. Immutable.
type subscription struct {
	id     int
	kinds  engine.EventKind
	rooms  []*regexp.Regexp // on Name.Key; empty: all rooms
	bodies bool
	ready  chan struct{} // closed once imc.subscribe is answered
}

// Methods are those of the WebSocket. At the other doors they say that they need
// one.
func Methods(bots *Bots) map[string]jsonrpc.Method {
	return map[string]jsonrpc.Method{
		"imc.subscribe":   onSocket("imc.subscribe", (*conn).subscribe),
		"imc.unsubscribe": onSocket("imc.unsubscribe", (*conn).unsubscribe),
		"imc.bot":         onSocket("imc.bot", bots.attach),
		"imc.bot_say":     onSocket("imc.bot_say", bots.say),
		"imc.bot_command": onSocket("imc.bot_command", bots.command),
	}
}

func onSocket(name string, f func(c *conn, ctx context.Context, params json.RawMessage) (any, error)) jsonrpc.Method {
	return func(ctx context.Context, params json.RawMessage) (any, error) {
		c, ok := ctx.Value(connKey{}).(*conn)
		if !ok {
			return nil, &jsonrpc.Error{Code: codeNoSocket, Message: name + " works over the WebSocket /ws only"}
		}
		return f(c, ctx, params)
	}
}

// decode reads parameters given by name. A name that is not known is an error.
func decode(params json.RawMessage, into any) error {
	if len(params) == 0 {
		return nil
	}
	if bytes.HasPrefix(bytes.TrimSpace(params), []byte("[")) {
		return invalid("parameters must be given by name, in an object")
	}
	d := json.NewDecoder(bytes.NewReader(params))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if wrong := new(json.UnmarshalTypeError); errors.As(err, &wrong) {
		return invalid("%s: cannot be a %s", strings.ToLower(wrong.Field), wrong.Value)
	}
	if err != nil {
		return invalid("%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

func invalid(format string, args ...any) error {
	return &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: fmt.Sprintf(format, args...)}
}

func (c *conn) subscribe(ctx context.Context, params json.RawMessage) (any, error) {
	s, err := parseSubscription(params)
	if err != nil {
		return nil, err
	}
	if s.bodies && !c.hub.bodies {
		return nil, &jsonrpc.Error{Code: codeForbidden, Message: "bodies: message bodies are not shown (event_bodies is off)"}
	}
	list := c.subscriptions()
	if len(list) >= maxSubscriptions {
		return nil, &jsonrpc.Error{Code: codeTooMany, Message: fmt.Sprintf("a connection can have %d subscriptions",
			maxSubscriptions)}
	}
	c.serial++
	s.id, s.ready = c.serial, make(chan struct{})
	c.after = append(c.after, func() { close(s.ready) })
	c.watch(append(list, s))
	// What is being stored just now may have no event: a client that has its answer finds it in the room.
	ctx, cancel := context.WithTimeout(ctx, storedWithin)
	defer cancel()
	_ = c.hub.source.AwaitStored(ctx) // senders wait no longer: the rest is answered 503
	return map[string]int{"subscription": s.id}, nil
}

func (c *conn) unsubscribe(_ context.Context, params json.RawMessage) (any, error) {
	var p struct{ Subscription int }
	if err := decode(params, &p); err != nil {
		return nil, err
	}
	list := c.subscriptions()
	for i, s := range list {
		if s.id == p.Subscription {
			c.watch(append(list[:i], list[i+1:]...))
			return true, nil
		}
	}
	return nil, invalid("subscription: there is none with number %d", p.Subscription)
}

func parseSubscription(params json.RawMessage) (*subscription, error) {
	var p struct {
		Events []string
		Rooms  []string
		Bodies bool
	}
	if err := decode(params, &p); err != nil {
		return nil, err
	}
	s := &subscription{bodies: p.Bodies}
	for _, name := range p.Events {
		k, ok := engine.ParseEventKind(name)
		if !ok {
			return nil, invalid("events: there is no event %q; there are %s", clip(name), strings.Join(engine.EventNames(),
				", "))
		}
		s.kinds |= k
	}
	if len(p.Events) == 0 {
		s.kinds = engine.AllEvents
	}
	if len(p.Rooms) > maxPatterns {
		return nil, invalid("rooms: at most %d patterns", maxPatterns)
	}
	for _, pattern := range p.Rooms {
		re, err := compile(pattern)
		if err != nil {
			return nil, err
		}
		s.rooms = append(s.rooms, re)
	}
	return s, nil
}

// compile reads a pattern: a room's URI with or without sip: and domain, in which
// * stands for anything.
func compile(pattern string) (*regexp.Regexp, error) {
	if pattern == "" || len(pattern) > maxPattern {
		return nil, invalid("rooms: a pattern has 1 to %d characters", maxPattern)
	}
	p := strings.ToLower(pattern)
	p = strings.TrimPrefix(strings.TrimPrefix(p, "sips:"), "sip:")
	if !strings.Contains(p, "@") && !strings.HasSuffix(p, "*") {
		p += "@*"
	}
	re, err := regexp.Compile("(?s)^" + strings.ReplaceAll(regexp.QuoteMeta(p), `\*`, ".*") + "$")
	if err != nil {
		return nil, invalid("rooms: %q is not UTF-8", clip(pattern))
	}
	return re, nil
}

func clip(s string) string {
	if len(s) > 60 {
		s = s[:60] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}

// wants reports whether the subscription is about ev. What concerns no room is
// for all.
func (s *subscription) wants(ev *engine.Event) bool {
	if s.kinds&ev.Kind == 0 {
		return false
	}
	if len(s.rooms) == 0 || ev.Room.IsZero() {
		return true
	}
	key := ev.Room.Key()
	for _, re := range s.rooms {
		if re.MatchString(key) {
			return true
		}
	}
	return false
}
