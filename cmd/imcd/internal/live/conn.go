package live

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"imcd/engine"
)

// goodbye is how long a client has to take the last writes, and then
// to answer the close.
const goodbye = 500 * time.Millisecond

// conn is one WebSocket.
type conn struct {
	hub      *Hub
	ws       *websocket.Conn
	listener *engine.Listener

	out  chan []byte     // waiting writes; read by the writer only
	ctx  context.Context // of the requests; ended when the connection is to end
	stop context.CancelFunc

	once sync.Once
	code int    // of the close frame; written by end, read after ctx has ended
	text string // likewise

	subs   atomic.Pointer[[]*subscription] // written by the reader, read by the writer
	serial int                             // of the last subscription; the reader's
	after  []func()                        // called once the answer is queued; the reader's
	bot    *bot                            // that it is; nil: none; the reader's
}

func newConn(h *Hub) *conn {
	c := &conn{hub: h, out: make(chan []byte, h.limits.Answers),
		listener: h.source.NewListener(h.limits.Events, h.limits.Bytes)}
	c.ctx, c.stop = context.WithCancel(context.WithValue(context.Background(), connKey{}, c))
	c.subs.Store(&[]*subscription{})
	return c
}

// connKey finds the conn in the context of its requests.
type connKey struct{}

// end begins the end of the connection, for the first reason given. It never
// blocks.
func (c *conn) end(code int, text string) {
	c.once.Do(func() {
		c.code, c.text = code, text
		c.stop()
	})
}

// send queues b. It never blocks: a client that leaves so much unread is cut off.
func (c *conn) send(b []byte) bool {
	select {
	case c.out <- b:
		return true
	default:
		c.end(CloseSlow, "too slow: too many answers wait to be read")
		return false
	}
}

// serve reads until the connection ends.
func (c *conn) serve(ws *websocket.Conn) {
	c.ws = ws
	// A write that waits for the client must not hold up the end.
	stop := context.AfterFunc(c.ctx, func() { _ = ws.NetConn().SetWriteDeadline(time.Now().Add(goodbye)) })
	defer stop()
	over := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() { c.write(over) })
	err := c.read()
	close(over)
	c.watch(nil)
	if c.bot != nil {
		c.bot.leave(c)
	}
	if errors.Is(err, errNoText) {
		c.end(websocket.CloseUnsupportedData, err.Error())
	} else {
		c.end(websocket.CloseNormalClosure, "")
	}
	writer.Wait()
	c.hub.log.Debug().Err(err).Stringer("peer", ws.RemoteAddr()).Msg("WebSocket ended")
}

var errNoText = errors.New("only text messages are understood")

// read answers requests until the connection ends. The library answers violations of
// the protocol.
func (c *conn) read() error {
	c.ws.SetReadLimit(c.hub.limits.Request)
	alive := func(string) error { return c.ws.SetReadDeadline(time.Now().Add(2 * c.hub.limits.Ping)) }
	c.ws.SetPongHandler(alive)
	for {
		if err := alive(""); err != nil {
			return err
		}
		kind, payload, err := c.ws.ReadMessage()
		if err != nil {
			return err
		}
		if c.ctx.Err() != nil {
			continue // only the client's answer to the close is waited for
		}
		if kind != websocket.TextMessage {
			return errNoText
		}
		c.take(payload)
	}
}

// take answers one message of the client.
func (c *conn) take(payload []byte) {
	if c.bot != nil && c.bot.acknowledged(c, payload) {
		return
	}
	answer := c.hub.handler.Handle(c.ctx, payload)
	if answer != nil {
		c.send(answer)
	}
	for _, f := range c.after {
		f()
	}
	c.after = nil
}

// write writes the queue, events and pings, until the connection is to end,
// and then closes it. Over is closed when nothing is read any more.
func (c *conn) write(over <-chan struct{}) {
	defer c.ws.Close()
	ping := time.NewTicker(c.hub.limits.Ping)
	defer ping.Stop()
	for c.writeNext(ping.C) == nil {
	}
	c.end(websocket.CloseNormalClosure, "") // if nobody has, a write failed
	frame := websocket.FormatCloseMessage(c.code, c.text)
	if c.ws.WriteControl(websocket.CloseMessage, frame, time.Now().Add(goodbye)) != nil {
		return
	}
	select {
	case <-over: // the client has answered
	case <-time.After(goodbye):
	}
}

func (c *conn) writeNext(ping <-chan time.Time) error {
	select {
	case <-c.ctx.Done():
		return c.ctx.Err()
	case <-c.listener.Lost():
		c.end(CloseSlow, "too slow: events were lost")
		return c.ctx.Err()
	default:
	}
	select {
	case <-c.ctx.Done():
		return c.ctx.Err()
	case <-c.listener.Lost():
		return nil // said above
	case b := <-c.out:
		return c.writeText(b)
	case ev := <-c.listener.Events():
		c.listener.Took(ev)
		return c.writeEvent(ev)
	case <-ping:
		return c.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(c.hub.limits.Write))
	}
}

func (c *conn) writeText(b []byte) error {
	if err := c.ws.SetWriteDeadline(time.Now().Add(c.hub.limits.Write)); err != nil {
		return err
	}
	return c.ws.WriteMessage(websocket.TextMessage, b)
}

// writeEvent tells of ev once for each subscription that wants it.
func (c *conn) writeEvent(ev *engine.Event) error {
	for _, s := range *c.subs.Load() {
		if !s.wants(ev) {
			continue
		}
		select {
		case <-s.ready: // the answer to imc.subscribe goes first
		case <-c.ctx.Done():
			return c.ctx.Err()
		}
		if err := c.writeQueued(); err != nil {
			return err
		}
		if err := c.writeText(s.notification(ev)); err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) writeQueued() error {
	for range len(c.out) {
		if err := c.writeText(<-c.out); err != nil {
			return err
		}
	}
	return nil
}

// watch makes list the subscriptions.
func (c *conn) watch(list []*subscription) {
	c.subs.Store(&list)
	var kinds engine.EventKind
	for _, s := range list {
		kinds |= s.kinds
	}
	c.listener.Listen(kinds)
}

// subscriptions is a copy of the list.
func (c *conn) subscriptions() []*subscription { return slices.Clone(*c.subs.Load()) }
