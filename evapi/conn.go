package evapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of Config.
const (
	defaultHeartbeat   = time.Second
	defaultDeadAfter   = 5 * time.Second
	defaultDialTimeout = 5 * time.Second
	defaultBackoffMin  = 100 * time.Millisecond
	defaultBackoffMax  = 5 * time.Second
	defaultQueueFrames = 65536
	defaultQueueCopies = 128
)

// Conn is the connection to one Kamailio: it connects, says hello, keeps the
// connection alive and makes it anew when it is lost. Its methods are safe for
// concurrent use, and for use from a Handler's methods but Stop.
//
// Two goroutines work for it. One connects, reads and calls the Handler; the
// other, which lives as long as one connection, writes. With LaneSIP there are two
// more, of its sipLink.
type Conn struct {
	cfg     Config // complete and checked; not changed any more
	handler Handler
	box     *outbox
	count   counters
	memory  memory
	dropped droppedSum // receipts
	forks   forks      // the reader's

	lastGen   int64  // Welcome.Gen of the last Up; the reader's
	lastStart string // Welcome.Start of the same; the reader's
	lastTopos Topos  // what was logged last; the reader's

	// link is the way of copies if the lane is LaneSIP; nil else, and without a
	// connection. Written by the reader, and by keepLink while that runs.
	link       atomic.Pointer[sipLink]
	socket     *sipLink      // that link, kept from one connection to the next; the reader's
	linkLater  time.Duration // see keepLink
	batchLost  time.Duration // the constant, but in tests
	ungauged   bool          // in tests: the kernel does not tell what lies in sockets
	toldBuffer bool          // see enlarge; the reader's

	mu     sync.Mutex         // guards what follows
	cancel context.CancelFunc // nil before Start and after a Stop before Start
	done   chan struct{}      // closed when the reader has ended
	over   bool               // stopped
	state  State              // what State returns but Up
}

// NewConn checks cfg and returns a Conn that is not started yet. An error names
// the field of Config.
func NewConn(cfg Config, h Handler) (*Conn, error) {
	if h == nil {
		return nil, errors.New("evapi: Handler is nil")
	}
	if err := checkConfig(&cfg); err != nil {
		return nil, err
	}
	return &Conn{cfg: cfg, handler: h, box: newOutbox(cfg.QueueFrames, cfg.QueueCopies), done: make(chan struct{}),
		linkLater: linkLater, batchLost: batchLost}, nil
}

// checkConfig fills in the defaults.
func checkConfig(cfg *Config) error {
	if _, _, err := net.SplitHostPort(cfg.Addr); err != nil {
		return fmt.Errorf("evapi: Addr: %w", err)
	}
	if err := checkSecret(cfg.Secret); err != nil {
		return fmt.Errorf("evapi: Secret: %w", err)
	}
	if _, err := newPeer(cfg.NextHop, ""); err != nil {
		return fmt.Errorf("evapi: NextHop: %w", err)
	}
	for _, d := range []struct {
		field string
		value *time.Duration
		def   time.Duration
	}{
		{"Heartbeat", &cfg.Heartbeat, defaultHeartbeat},
		{"DeadAfter", &cfg.DeadAfter, defaultDeadAfter},
		{"DialTimeout", &cfg.DialTimeout, defaultDialTimeout},
		{"BackoffMin", &cfg.BackoffMin, defaultBackoffMin},
		{"BackoffMax", &cfg.BackoffMax, defaultBackoffMax},
	} {
		if *d.value < 0 {
			return fmt.Errorf("evapi: %s: %v is negative", d.field, *d.value)
		}
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	if cfg.BackoffMax < cfg.BackoffMin {
		return fmt.Errorf("evapi: BackoffMax: %v is less than BackoffMin %v", cfg.BackoffMax, cfg.BackoffMin)
	}
	if cfg.DeadAfter <= cfg.Heartbeat {
		return fmt.Errorf("evapi: DeadAfter: %v is not more than Heartbeat %v", cfg.DeadAfter, cfg.Heartbeat)
	}
	for _, n := range []struct {
		field string
		value *int
		def   int
	}{{"QueueFrames", &cfg.QueueFrames, defaultQueueFrames}, {"QueueCopies", &cfg.QueueCopies, defaultQueueCopies}} {
		if *n.value < 0 {
			return fmt.Errorf("evapi: %s: %d is negative", n.field, *n.value)
		}
		if *n.value == 0 {
			*n.value = n.def
		}
	}
	if cfg.Name == "" {
		cfg.Name = cfg.Addr
	}
	return nil
}

// Start begins to connect; it returns at once. It does nothing if the Conn has
// been started or stopped before.
func (c *Conn) Start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over || c.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	go func() {
		defer close(c.done)
		c.run(ctx)
		if c.socket != nil {
			c.socket.stop()
		}
	}()
}

// Stop closes the connection and waits until nothing of it runs any more; the
// Handler has had its Down by then. What is queued is not written: whoever wants
// that waits for Stats().Queued to become 0 before. Stop may be called more than
// once and before Start, but not from a Handler's method.
func (c *Conn) Stop() {
	c.mu.Lock()
	c.over = true
	cancel := c.cancel
	c.mu.Unlock()
	if cancel == nil {
		return
	}
	cancel()
	<-c.done
}

// Name is the label of this connection in logs and metrics.
func (c *Conn) Name() string { return c.cfg.Name }

// Ready reports whether there is an authenticated connection to Kamailio now.
func (c *Conn) Ready() bool { return c.box.isOpen() }

// State says how a connection stands.
type State struct {
	Up      bool
	OwnHop  string // SIP URI of Kamailio itself, of the last welcome; empty before the first
	NextHop string // SIP URI that copies are sent through: Config.NextHop, or OwnHop
	Topos   Topos  // of the last welcome
	// Registrations is the answer to the last Look; nil: there was none since it was called.
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

// linkQueued counts the copies that wait to be sent by SIP.
func (c *Conn) linkQueued() int {
	if l := c.link.Load(); l != nil {
		return l.queued()
	}
	return 0
}

// Look asks Kamailio how many registrations it knows of; the answer comes to State. An
// include of another version does not answer. It never blocks. The errors are ErrDown and
// ErrFull.
func (c *Conn) Look() error {
	c.note(func(s *State) { s.Registrations = nil })
	return c.box.putPayload([]byte(imcLook), false)
}

// note changes what State says.
func (c *Conn) note(change func(s *State)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.state)
}

// Send queues one copy; it never blocks. A nil error means that there will be a
// Result for the Call-ID, unless Kamailio loses it: whoever needs to know in any
// case keeps a timer. The errors are ErrDown, ErrFull, ErrTooLarge and, wrapped,
// ErrBadCopy.
func (c *Conn) Send(cp Copy) error {
	if err := checkCopy(&cp); err != nil {
		return err
	}
	if l := c.link.Load(); l != nil {
		if err := l.put(&cp); !errors.Is(err, ErrDown) {
			return err
		}
	}
	return c.box.putCopy(cp, false)
}

// Reply queues the answer of a suspended transaction; it never blocks and goes
// ahead of copies without First. The errors are ErrDown, ErrFull, and one for a
// Code that is no final SIP status.
func (c *Conn) Reply(tx TxID, a Answer) error {
	payload, err := appendReply(nil, tx, a)
	if err != nil {
		return err
	}
	return c.box.putPayload(payload, false)
}

// Answer queues a JSON-RPC response for the operator's connection tag; it never
// blocks. The errors are ErrDown, ErrFull (64 answers wait), ErrTooLarge, wrapped
// with the numbers (above some 24000 bytes), and one for a malformed tag.
func (c *Conn) Answer(tag string, json []byte) error {
	payload, err := appendAnswer(nil, tag, json)
	if err != nil {
		return err
	}
	return c.box.putPayload(payload, true)
}
