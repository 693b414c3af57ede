// Package live is the WebSocket /ws: the methods of JSON-RPC as at the other
// doors, live events (imc.subscribe), and bots, which are members of rooms that
// live on a WebSocket instead of a SIP phone.
//
// # The protocol
//
// Every message is text and one JSON-RPC 2.0 request, notification or batch, up
// to 64 KiB. They are answered in their order. Events are notifications:
//
//	→ {"jsonrpc":"2.0","id":1,"method":"imc.subscribe","params":{
//	    "events":["message","join"],"rooms":["chat-*@example.org"]}}
//	← {"jsonrpc":"2.0","result":{"subscription":1},"id":1}
//	← {"jsonrpc":"2.0","method":"imc.event","params":{"subscription":1,"event":"message",
//	    "time":"…","room":"sip:chat-a@example.org","seq":7,"sender":"sip:alice@example.org",
//	    "content_type":"text/plain","size":5}}
//
// No events, or no rooms, means all. "bodies":true asks for the text of messages,
// which the operator must allow (event_bodies). imc.unsubscribe {"subscription":1}
// ends it. Only bots find later the messages that came while they were not connected.
//
// A bot is a user that the configuration names (bots). It says who it is, and
// gets the messages of its rooms as requests that it must answer, which moves its cursor
// as a SIP 200 does; messages that were not answered come again:
//
//	→ {"jsonrpc":"2.0","id":1,"method":"imc.bot","params":{"name":"sip:echo@example.org"}}
//	← {"jsonrpc":"2.0","id":"003-…","method":"imc.deliver","params":{
//	    "room":"sip:chat-a@example.org","seq":7,"sender":"sip:alice@example.org",
//	    "content_type":"text/plain","body":"hello",…}}
//	→ {"jsonrpc":"2.0","id":"003-…","result":true}
//	→ {"jsonrpc":"2.0","id":2,"method":"imc.bot_say","params":{"room":"sip:chat-a@example.org","text":"hello, too"}}
//
// An error instead of the result with a SIP status code (300 to 699) means what
// that means of a phone; any other makes it come again later. Commands ("#accept")
// are given with imc.bot_command {"room","command"}.
//
// # Who does what
//
// Each connection has a reader and a writer. The reader answers requests and puts
// answers into a bounded queue; the writer takes from that and from
// the engine's events, and alone writes. A client that does not keep up is closed
// with CloseSlow.
package live

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/rs/zerolog"

	"imcd/engine"
)

// Close codes beside those of RFC 6455.
const (
	// CloseSlow: the client did not read fast enough and has lost events.
	CloseSlow = 4008
	// CloseReplaced: another connection has become the same bot.
	CloseReplaced = 4009
)

// Protocol is the WebSocket subprotocol; a client need not ask for one.
const Protocol = "imcd"

// Handler answers one JSON-RPC payload; nil means no answer. *jsonrpc.Server is one.
type Handler interface {
	Handle(ctx context.Context, payload []byte) []byte
}

// Source is where events come from; *engine.Engine is one.
type Source interface {
	NewListener(events int, bytes int64) *engine.Listener
	// AwaitStored returns once all that was evaluated before it is stored; an error: ctx has ended.
	AwaitStored(ctx context.Context) error
}

// Limits bound the memory that clients can make imcd use.
type Limits struct {
	Conns   int           // connections at a time
	Request int64         // bytes of one request
	Answers int           // answers and deliveries that may wait to be written
	Events  int           // events that may wait to be written
	Bytes   int64         // bytes of their bodies
	Write   time.Duration // deadline of one write
	Ping    time.Duration // between pings; twice that without a pong ends the connection
}

// DefaultLimits are those of the daemon.
func DefaultLimits() Limits {
	return Limits{Conns: 64, Request: 64 << 10, Answers: 256, Events: 4096, Bytes: 4 << 20,
		Write: 10 * time.Second, Ping: 25 * time.Second}
}

// Hub serves the WebSocket.
type Hub struct {
	handler Handler
	source  Source
	bodies  bool
	limits  Limits
	log     zerolog.Logger

	upgrader websocket.Upgrader

	mu    sync.Mutex
	over  bool               // guarded by mu
	conns map[*conn]struct{} // guarded by mu
	done  sync.WaitGroup     // one for each of conns
}

// NewHub makes a Hub that answers with h and reports the events of source. Bodies
// says whether the operator allows message bodies to be shown.
func NewHub(h Handler, source Source, bodies bool, limits Limits, log zerolog.Logger) *Hub {
	return &Hub{handler: h, source: source, bodies: bodies, limits: limits, log: log, conns: make(map[*conn]struct{}),
		upgrader: websocket.Upgrader{
			HandshakeTimeout: 5 * time.Second,
			Subprotocols:     []string{Protocol},
			// web.Access has looked at the origin.
			CheckOrigin: func(*http.Request) bool { return true },
		}}
}

// ServeHTTP makes a request a WebSocket and serves it until it ends.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := newConn(h)
	if !h.admit(c) {
		http.Error(w, "too many WebSockets, or imcd is stopping", http.StatusServiceUnavailable)
		return
	}
	defer h.leave(c)
	ws, err := h.upgrader.Upgrade(w, r, nil)
	if err != nil {
		h.log.Debug().Err(err).Str("peer", r.RemoteAddr).Msg("no WebSocket") // the client has its answer
		return
	}
	c.serve(ws)
}

func (h *Hub) admit(c *conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over || len(h.conns) >= h.limits.Conns {
		return false
	}
	h.conns[c] = struct{}{}
	h.done.Add(1)
	return true
}

func (h *Hub) leave(c *conn) {
	h.mu.Lock()
	delete(h.conns, c)
	h.mu.Unlock()
	h.done.Done()
}

// Count is how many connections there are.
func (h *Hub) Count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.conns)
}

// Stop closes all connections, saying that imcd goes away, and waits until they
// are gone.
func (h *Hub) Stop() {
	h.mu.Lock()
	h.over = true
	for c := range h.conns {
		c.end(websocket.CloseGoingAway, "imcd is stopping")
	}
	h.mu.Unlock()
	h.done.Wait()
}
