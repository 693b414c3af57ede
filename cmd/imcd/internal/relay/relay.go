// Package relay joins the connections to all Kamailios into the one relay that
// the engine knows.
package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"imcd/cmd/imcd/internal/names"
	"imcd/evapi"
)

// Rooms takes the reports of the Kamailios; *engine.Engine is one. Its methods
// must not block.
type Rooms interface {
	Message(m *evapi.Message)
	// Request takes a request that is no MESSAGE.
	Request(m *evapi.Message)
	Result(r evapi.Result)
	Receipt(r *evapi.Receipt)
	// Registered says that a user can be reached now; aor is not checked.
	Registered(aor string)
	// Devices takes what a registration says of devices.
	Devices(r evapi.Registration)
	// Found takes what a location table has for a user.
	Found(r evapi.Registration)
	// Unheard says that a Kamailio has not reported registrations.
	Unheard()
	// Lost says that copies sent through c without a result will get none.
	Lost(c *evapi.Conn)
	// Welcomed reports the welcome of a Kamailio.
	Welcomed(kamailio string, w evapi.Welcome)
	// Linked says that a Kamailio is connected, or not any more.
	Linked(kamailio string, up bool)
	// Drained says that copies can be sent again after ErrFull.
	Drained()
	// Wake makes it try again to send: a Kamailio is there.
	Wake()
}

// Calls takes the requests of operators that come through a Kamailio. It must
// not block.
type Calls interface {
	Call(q *evapi.Call)
}

// Group is a set of connections. It implements engine.Relay for the engine and
// evapi.Handler for the connections.
type Group struct {
	log   zerolog.Logger
	conns []*evapi.Conn // fixed by New, in the order of the configuration

	rooms    atomic.Pointer[Rooms]         // nil until Serve: this imcd has no rooms yet
	senders  atomic.Pointer[Rooms]         // nil until Outcomes or Serve: nobody has sent a copy
	linkMu   sync.Mutex                    // orders Serve among welcomes and ends of connections
	welcomes map[*evapi.Conn]evapi.Welcome // by linkMu; of connected Kamailios
	calls    Calls                         // fixed by Start

	// closing is what a message is to be answered once no more are taken:
	// seconds of Retry-After, 0 before that.
	closing atomic.Int64
	refused atomic.Uint64 // messages answered so
	leaving atomic.Bool   // messages that come all the same are handed back: see Leave

	book *names.Book // nil: Kamailio looks names up; fixed before Start
	own  ownHosts

	probes probes

	others Others // fixed before Start
	fleet  fleet
}

// New makes a connection for each configuration. None is begun before Start.
func New(kamailios []evapi.Config, log zerolog.Logger) (*Group, error) {
	g := &Group{log: log, welcomes: make(map[*evapi.Conn]evapi.Welcome)}
	for _, cfg := range kamailios {
		cfg.Log = log
		if cfg.Engine != "" {
			cfg.Plain = g.plain
		}
		c, err := evapi.NewConn(cfg, g)
		if err != nil {
			return nil, fmt.Errorf("connection to Kamailio at %s: %w", cfg.Addr, err)
		}
		g.conns = append(g.conns, c)
	}
	return g, nil
}

// Start begins to connect; from then on calls gets the requests of operators. Until Serve there are no rooms:
// requests for rooms are handed back, so that they wait in Kamailio.
func (g *Group) Start(calls Calls) {
	g.calls = calls
	if g.book != nil {
		g.book.Start()
	}
	for _, c := range g.conns {
		c.Start()
	}
}

// Outcomes gives rooms the outcomes of their copies from now on. While they are loaded, before Serve, they send copies
// already: an outcome that came to nobody would be waited for until result_timeout, and the member with it.
func (g *Group) Outcomes(rooms Rooms) { g.senders.Store(&rooms) }

// Serve gives rooms everything that arrives from now on. It may be called before Start, and is called once.
func (g *Group) Serve(rooms Rooms) {
	g.linkMu.Lock()
	defer g.linkMu.Unlock()
	for _, c := range g.conns {
		if w, ok := g.welcomes[c]; ok {
			welcomed(rooms, c, w)
		}
	}
	g.Outcomes(rooms)
	g.rooms.Store(&rooms)
}

// welcomed lets rooms know that a Kamailio is connected.
func welcomed(rooms Rooms, c *evapi.Conn, w evapi.Welcome) {
	rooms.Welcomed(c.Name(), w)
	if w.Restarted {
		rooms.Lost(c)
	}
	rooms.Wake()
	rooms.Linked(c.Name(), true)
}

// serving returns the rooms; nil: there are none yet.
func (g *Group) serving() Rooms {
	if rooms := g.rooms.Load(); rooms != nil {
		return *rooms
	}
	return nil
}

// Stop closes all connections and waits until they are gone.
func (g *Group) Stop() {
	if g.book != nil {
		g.book.Stop()
	}
	for _, c := range g.conns {
		c.Stop()
	}
}

// Connections are those to all Kamailios, in the order of the configuration.
func (g *Group) Connections() []*evapi.Conn { return g.conns }

// Refuse answers every message from now on with 503 and retryAfter.
func (g *Group) Refuse(retryAfter time.Duration) {
	g.closing.Store(max(1, int64(retryAfter/time.Second)))
}

// flushPoll is how often Flush looks whether everything is written.
const flushPoll = 5 * time.Millisecond

// Flush waits until nothing waits to be written to a Kamailio that is connected,
// or ctx ends.
func (g *Group) Flush(ctx context.Context) {
	ticker := time.NewTicker(flushPoll)
	defer ticker.Stop()
	for g.queued() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (g *Group) queued() int {
	n := 0
	for _, c := range g.conns {
		if s := c.Stats(); s.Up {
			n += s.Queued
		}
	}
	return n
}

// Missing names the Kamailios that are not connected, and tells whether any is.
func (g *Group) Missing() (names []string, connected bool) {
	for _, c := range g.conns {
		if c.Ready() {
			connected = true
		} else {
			names = append(names, c.Name())
		}
	}
	return names, connected
}

// Warnings says which Kamailios are short of shared memory.
func (g *Group) Warnings() []string {
	var lines []string
	for _, c := range g.conns {
		if s := c.Stats(); s.Up && s.MemoryShort {
			lines = append(lines, fmt.Sprintf("Kamailio %s has %d of %d MB of shared memory left: "+
				"copies that take any of it go slowly (SHM_MEMORY)", c.Name(), s.MemoryFree>>20, s.MemoryTotal>>20))
		}
	}
	return lines
}

// Reply implements engine.Relay.
func (g *Group) Reply(m *evapi.Message, a evapi.Answer) {
	// Only the Kamailio that holds the transaction can answer it. If the
	// connection is down it has answered by its own timer.
	if err := m.Conn.Reply(m.Tx, a); err != nil {
		g.log.Debug().Err(err).Str("kamailio", m.Conn.Name()).Int("code", a.Code).Msg("reply not sent")
	}
}

// Send implements engine.Relay.
func (g *Group) Send(via *evapi.Conn, c evapi.Copy) (*evapi.Conn, error) {
	if host := g.abroad(&c); host != "" {
		return g.sendAbroad(via, host, c)
	}
	return g.send(via, c)
}

// send tries via first. A copy that does not fit its queue goes through another: with one Kamailio
// that is slow, or short of memory, nothing waits that others can take.
func (g *Group) send(via *evapi.Conn, c evapi.Copy) (*evapi.Conn, error) {
	later := evapi.ErrDown
	if via != nil {
		err := via.Send(c)
		if !errors.Is(err, evapi.ErrDown) && !errors.Is(err, evapi.ErrFull) || c.Device != "" {
			return via, err // another Kamailio does not know this device
		}
		later = err
	}
	for _, conn := range g.conns {
		if conn == via {
			continue
		}
		err := conn.Send(c)
		if !errors.Is(err, evapi.ErrDown) && !errors.Is(err, evapi.ErrFull) {
			return conn, err
		}
		if errors.Is(err, evapi.ErrFull) {
			later = err
		}
	}
	return nil, later
}

// Up implements evapi.Handler.
func (g *Group) Up(c *evapi.Conn, w evapi.Welcome) {
	g.repeat(c)
	g.own.welcomed(c, w)
	if g.others.Missed != nil {
		g.others.Missed()
	}
	g.linkMu.Lock()
	defer g.linkMu.Unlock()
	g.welcomes[c] = w
	if rooms := g.serving(); rooms != nil {
		welcomed(rooms, c, w)
	}
}

// Down implements evapi.Handler. Copies under way have had their results before,
// and the connection has written its log.
func (g *Group) Down(c *evapi.Conn, _ error) {
	g.linkMu.Lock()
	defer g.linkMu.Unlock()
	delete(g.welcomes, c)
	if rooms := g.serving(); rooms != nil {
		rooms.Linked(c.Name(), false)
	}
}

// Drained implements evapi.DrainHandler.
func (g *Group) Drained(*evapi.Conn) {
	if rooms := g.senders.Load(); rooms != nil {
		(*rooms).Drained()
	}
}

// Bounds implements engine.Relay: the narrowest bounds of those that are connected.
func (g *Group) Bounds() evapi.Bounds {
	all := evapi.Bounds{Paced: true}
	for _, c := range g.conns {
		if !c.Ready() {
			continue
		}
		b := c.Bounds()
		all.Paced = all.Paced && b.Paced
		all.Dropped += b.Dropped
		if b.Copies > 0 && (all.Copies == 0 || b.Copies < all.Copies) {
			all.Copies = b.Copies
		}
	}
	return all
}

// Message implements evapi.Handler.
func (g *Group) Message(m *evapi.Message) {
	if g.probes.message(m) {
		g.Reply(m, evapi.Answer{Code: 200, Reason: "imcd check", RC: 1})
		return
	}
	if !m.Foreign && m.Err == nil && g.book != nil {
		if from := m.Request.From(); from != nil {
			g.own.learn(from.Address.Host)
		}
	}
	g.give(m, Rooms.Message)
}

// give gives a request to the rooms, if they are here.
func (g *Group) give(m *evapi.Message, to func(Rooms, *evapi.Message)) {
	if g.leaving.Load() && g.Move(m, evapi.NoSlot) == nil {
		return
	}
	seconds, rooms := g.closing.Load(), g.serving()
	switch {
	case seconds > 0:
		g.refuse(m, "Chat service is shutting down", seconds)
	case rooms != nil:
		to(rooms, m)
	default:
		// Another imcd has the room, and Kamailio learns that in a moment.
		if err := g.Move(m, evapi.NoSlot); err != nil {
			g.refuse(m, "Chat service is not ready", 1)
		}
	}
}

// Request implements evapi.RequestHandler.
func (g *Group) Request(m *evapi.Message) { g.give(m, Rooms.Request) }

// refuse answers a message with 503.
func (g *Group) refuse(m *evapi.Message, reason string, retryAfter int64) {
	g.refused.Add(1)
	g.Reply(m, evapi.Answer{Code: 503, Reason: reason, RC: -1, RetryAfter: time.Duration(retryAfter) * time.Second})
}

// Result implements evapi.Handler.
func (g *Group) Result(_ *evapi.Conn, r evapi.Result) {
	if g.probes.result(r) {
		return
	}
	if rooms := g.senders.Load(); rooms != nil {
		(*rooms).Result(r)
	}
}

// Receipt implements evapi.Handler.
func (g *Group) Receipt(r *evapi.Receipt) {
	if rooms := g.serving(); rooms != nil {
		rooms.Receipt(r)
	}
}

// Registered implements evapi.Handler.
func (g *Group) Registered(_ *evapi.Conn, r evapi.Registration) {
	rooms := g.serving()
	if rooms != nil {
		if !r.Removed() {
			rooms.Registered(r.AOR)
		}
		rooms.Devices(r)
	}
	if g.others.Registered != nil && !r.Removed() {
		g.others.Registered(r.Of())
	}
}

// Contacts asks all Kamailios that are connected which contacts users have, at most evapi.MaxWanted. After an error it
// is to be tried again.
func (g *Group) Contacts(users []evapi.Wanted) error {
	var all error
	for _, c := range g.conns {
		if err := c.Contacts(users); !errors.Is(err, evapi.ErrDown) {
			all = errors.Join(all, err)
		}
	}
	return all
}

// Found implements evapi.ContactsHandler.
func (g *Group) Found(_ *evapi.Conn, r evapi.Registration) {
	if rooms := g.serving(); rooms != nil {
		rooms.Found(r)
	}
}

// Unheard implements evapi.ContactsHandler.
func (g *Group) Unheard(*evapi.Conn) {
	if rooms := g.serving(); rooms != nil {
		rooms.Unheard()
	}
}

// Call implements evapi.Handler.
func (g *Group) Call(q *evapi.Call) { g.calls.Call(q) }
