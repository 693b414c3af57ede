package evapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// Config describes the connection to one Kamailio. The zero value of a duration or size
// means its default.
type Config struct {
	Name   string // label in logs and metrics; empty: Addr
	Addr   string // host:port of Kamailio's evapi
	Secret string // the engine's secret, see package doc

	// Engine is the name of this engine, that is, of this start of imcd, among those that
	// share a database: 1 to 32 letters and digits. Empty: there are no others, and
	// Kamailio gives it all requests.
	Engine string
	// Plain reports whether an engine with a name may say hello without it now: to an older
	// imc.cfg, which knows one engine only and gives it all requests. nil: it may not.
	Plain func() bool

	Heartbeat   time.Duration // between pings; 1 s, and 250 ms with an Engine
	DeadAfter   time.Duration // without any frame from Kamailio; 5 s
	DialTimeout time.Duration // for connect and welcome together; 5 s
	BackoffMin  time.Duration // first wait before reconnecting; 100 ms
	BackoffMax  time.Duration // longest wait, jitter included; 5 s
	QueueFrames int           // frames in each queue; 65536
	// QueueCopies bounds the copies in each queue; 128. With few of them a copy that is
	// sent next does not wait for long. DrainHandler reports the end of ErrFull.
	QueueCopies int

	// NextHop is the SIP URI that every copy is sent through, instead of Welcome.NextHop
	// (Kamailio itself). Empty: Welcome.NextHop.
	NextHop string

	// Fanout is the lane that copies take. If Kamailio's include does not offer it, they
	// take the best one below it.
	Fanout Lane

	Log zerolog.Logger
}

// Defaults of Config.
const (
	defaultHeartbeat   = time.Second
	namedHeartbeat     = 250 * time.Millisecond // Kamailio believes in an engine with a name for 1 s
	defaultDeadAfter   = 5 * time.Second
	defaultDialTimeout = 5 * time.Second
	defaultBackoffMin  = 100 * time.Millisecond
	defaultBackoffMax  = 5 * time.Second
	defaultQueueFrames = 65536
	defaultQueueCopies = 128
)

// linkLater is the time from a failure of copies by SIP to the next try.
const linkLater = 30 * time.Second

// Conn is the connection to one Kamailio: it connects, says hello, keeps the connection
// alive and makes a new one when it is lost. Its methods are safe for concurrent use, and
// all but Stop for use from a Handler's methods.
//
// Two goroutines work for it. One connects, reads and calls the Handler; the other, which
// lives as long as one connection, writes. With LaneSIP there are two more, of its sipLink.
type Conn struct {
	cfg     Config // complete and checked; never changed
	handler Handler
	box     *outbox
	count   counters
	memory  memory
	dropped droppedSum // receipts
	parked  atomic.Int64
	forks   forks // only the reader uses it, and the last… fields

	lastGen   int64  // Welcome.Gen of the last Up
	lastStart string // Welcome.Start of the last Up
	lastTopos Topos  // as logged last

	wire atomic.Pointer[wireConn] // nil without a connection; the reader writes it

	// link is the way of copies if the lane is LaneSIP; nil else, and without a connection.
	// The reader writes it, and keepLink while that runs.
	link         atomic.Pointer[sipLink]
	socket       *sipLink      // that link, kept from one connection to the next; only for the reader
	linkLater    time.Duration // see keepLink
	batchLost    time.Duration // the constant, but in tests
	ungauged     bool          // in tests: there is no gauge
	bufferLogged bool          // see enlarge; only for the reader

	retry chan struct{} // ends the wait before the next try; holds one

	mu     sync.Mutex         // guards the fields below
	cancel context.CancelFunc // nil before Start and after a Stop before Start
	done   chan struct{}      // closed when the reader has ended
	over   bool               // stopped
	state  State              // as State returns it, without Up
}

// NewConn checks cfg and returns a Conn that is not started yet. An error names the field
// of Config.
func NewConn(cfg Config, h Handler) (*Conn, error) {
	if h == nil {
		return nil, errors.New("evapi: Handler is nil")
	}
	if err := checkConfig(&cfg); err != nil {
		return nil, err
	}
	return &Conn{cfg: cfg, handler: h, box: newOutbox(cfg.QueueFrames, cfg.QueueCopies), done: make(chan struct{}),
		retry: make(chan struct{}, 1), linkLater: linkLater, batchLost: batchLost}, nil
}

// checkConfig fills in the defaults.
func checkConfig(cfg *Config) error {
	if _, _, err := net.SplitHostPort(cfg.Addr); err != nil {
		return fmt.Errorf("evapi: Addr: %w", err)
	}
	if err := checkSecret(cfg.Secret); err != nil {
		return fmt.Errorf("evapi: Secret: %w", err)
	}
	if err := checkEngine(cfg.Engine); err != nil {
		return err
	}
	beat := defaultHeartbeat
	if cfg.Engine != "" {
		beat = namedHeartbeat
	}
	if _, err := newPeer(cfg.NextHop, ""); err != nil {
		return fmt.Errorf("evapi: NextHop: %w", err)
	}
	if err := errors.Join(
		setDefault("Heartbeat", &cfg.Heartbeat, beat),
		setDefault("DeadAfter", &cfg.DeadAfter, defaultDeadAfter),
		setDefault("DialTimeout", &cfg.DialTimeout, defaultDialTimeout),
		setDefault("BackoffMin", &cfg.BackoffMin, defaultBackoffMin),
		setDefault("BackoffMax", &cfg.BackoffMax, defaultBackoffMax),
		setDefault("QueueFrames", &cfg.QueueFrames, defaultQueueFrames),
		setDefault("QueueCopies", &cfg.QueueCopies, defaultQueueCopies),
	); err != nil {
		return err
	}
	if cfg.BackoffMax < cfg.BackoffMin {
		return fmt.Errorf("evapi: BackoffMax: %v is less than BackoffMin %v", cfg.BackoffMax, cfg.BackoffMin)
	}
	if cfg.DeadAfter <= cfg.Heartbeat {
		return fmt.Errorf("evapi: DeadAfter: %v is not more than Heartbeat %v", cfg.DeadAfter, cfg.Heartbeat)
	}
	if cfg.Name == "" {
		cfg.Name = cfg.Addr
	}
	return nil
}

func setDefault[T int | time.Duration](field string, value *T, def T) error {
	if *value < 0 {
		return fmt.Errorf("evapi: %s: %v is negative", field, *value)
	}
	if *value == 0 {
		*value = def
	}
	return nil
}

// Name is the label of this connection in logs and metrics.
func (c *Conn) Name() string { return c.cfg.Name }

// Ready reports whether there is an authenticated connection to Kamailio now.
func (c *Conn) Ready() bool { return c.box.isOpen() }

// lateAck is how late an acknowledgement of Kamailio's host may be until the host counts as out of reach. It is more
// than the wait for the first retransmission of TCP (200 ms).
const lateAck = 250 * time.Millisecond

// Reached reports whether there is a connection, and the host of Kamailio acknowledges what is sent to it. A network
// that swallows packets shows here long before DeadAfter. A Kamailio that is busy, or stands still, is reached: the
// kernel of its host acknowledges. Where the kernel here does not tell (it is not Linux), Reached is Ready.
func (c *Conn) Reached() bool {
	if !c.Ready() {
		return false
	}
	w := c.wire.Load()
	return w == nil || w.overdue(c.cfg.Heartbeat) < lateAck
}

// State is the present state of a Conn.
type State struct {
	Up      bool
	OwnHop  string // SIP URI of Kamailio itself, of the last welcome; empty before the first
	NextHop string // SIP URI that copies are sent through: Config.NextHop, or OwnHop
	Topos   Topos  // of the last welcome
	Native  bool   // likewise: rooms are group chats of clients (IMC_NATIVE)
	// Registrations is the answer to the last Look; nil: no answer since that call.
	Registrations *RegistrationsEvent
	Err           error // why the last attempt failed, or the last connection ended; nil while Up
}

// State reports whether there is a connection and, if not, why.
func (c *Conn) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.state
	if s.Up = c.box.isOpen(); s.Up {
		s.Err = nil
	}
	return s
}

// note changes the State.
func (c *Conn) note(change func(s *State)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.state)
}

// Send queues one copy; it never blocks. A nil error means that there will be a Result for
// the Call-ID, unless Kamailio loses it: a caller that needs to know in any case keeps a
// timer. The errors are ErrDown, ErrFull, ErrTooLarge and, wrapped, ErrBadCopy.
func (c *Conn) Send(cp Copy) error {
	if err := checkCopy(&cp); err != nil {
		return err
	}
	if l := c.link.Load(); l != nil {
		if err := l.put(&cp); !errors.Is(err, ErrDown) {
			return err
		}
	}
	if !cp.Out.isMessage() {
		return ErrDown
	}
	return c.box.putCopy(cp, false)
}

// Reply queues the answer of a suspended transaction; it never blocks and goes ahead of
// copies without First. The errors are ErrDown, ErrFull, and one for a Code that is no
// final SIP status.
func (c *Conn) Reply(tx TxID, a Answer) error {
	payload, err := appendReply(nil, tx, a)
	if err != nil {
		return err
	}
	return c.box.putPayload(payload, false)
}

// Answer queues a JSON-RPC response for the operator's connection tag; it never blocks. The
// errors are ErrDown, ErrFull (64 answers wait), ErrTooLarge, wrapped with the numbers
// (above some 24000 bytes), and one for a malformed tag.
func (c *Conn) Answer(tag string, json []byte) error {
	payload, err := appendAnswer(nil, tag, json)
	if err != nil {
		return err
	}
	return c.box.putPayload(payload, true)
}

// Look asks Kamailio how many registrations it has; the answer appears in State. An include
// of another version does not answer. It never blocks. The errors are ErrDown and ErrFull.
func (c *Conn) Look() error {
	c.note(func(s *State) { s.Registrations = nil })
	return c.box.putPayload([]byte(imcLook), false)
}

// drained tells the handler that Send takes copies again.
func (c *Conn) drained() {
	if h, ok := c.handler.(DrainHandler); ok {
		h.Drained(c)
	}
}

// unresolved gives a copy to a Handler that looks names up; false: it does not.
func (c *Conn) unresolved(cp Copy, name string) bool {
	h, ok := c.handler.(NameHandler)
	if !ok {
		return false
	}
	host, port, ok := splitName(name)
	return ok && h.Unresolved(c, cp, host, port)
}
