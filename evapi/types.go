package evapi

import (
	"errors"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/rs/zerolog"
)

// MaxFrame is the largest netstring payload, in bytes, that Kamailio's evapi
// reads (its buffer of 32767 less header and comma).
const MaxFrame = 32760

// WindowBytes bounds what is written before Kamailio's pong is awaited.
const WindowBytes = 30000

// Errors of Conn's methods.
var (
	// ErrDown: there is no authenticated connection to Kamailio now.
	ErrDown = errors.New("evapi: not connected to Kamailio")
	// ErrFull: the connection's outgoing queue is full. See DrainHandler.
	ErrFull = errors.New("evapi: outgoing queue is full")
	// ErrTooLarge: a frame would exceed MaxFrame.
	ErrTooLarge = errors.New("evapi: frame too large for Kamailio")
)

// Config describes the connection to one Kamailio. The zero value of a duration
// or size means its default.
type Config struct {
	Name   string // label in logs and metrics; empty: Addr
	Addr   string // host:port of Kamailio's evapi
	Secret string // the engine's secret, see package doc

	Heartbeat   time.Duration // between pings; 1 s
	DeadAfter   time.Duration // without any frame from Kamailio; 5 s
	DialTimeout time.Duration // for connect and welcome together; 5 s
	BackoffMin  time.Duration // first wait before reconnecting; 100 ms
	BackoffMax  time.Duration // longest wait, jitter included; 5 s
	QueueFrames int           // frames waiting to be written, per priority; 65536
	// QueueCopies is how many copies may wait to be sent, per priority: few, so that a
	// copy which is sent next need not wait for long; 128. DrainHandler tells of the end
	// of ErrFull.
	QueueCopies int

	// NextHop is the SIP URI every copy is sent through, instead of
	// Welcome.NextHop (Kamailio itself). Empty: Welcome.NextHop.
	NextHop string

	// Fanout is the lane that copies take; what the include at Kamailio does
	// not offer is replaced by the best below it.
	Fanout Lane

	Log zerolog.Logger
}

// TxID names a suspended transaction of one Kamailio, as its tm module does.
type TxID struct {
	Index int64
	Label int64
}

// Message is a SIP MESSAGE request that waits in Kamailio for its answer.
type Message struct {
	Conn     *Conn         // where the answer must go; never nil
	Tx       TxID          //
	Received time.Time     // when the frame was read
	Age      time.Duration // how long it had been on its way then; Kamailio answers 503 by itself after 5 s
	Proto    string        // udp, tcp, tls, ws, wss
	SrcIP    string        //
	SrcPort  int           //
	AuthUser string        // $au; empty without authentication
	Foreign  bool          // From is of no domain of Kamailio's, as it says; false if it does not say
	ByRule   bool          // Kamailio's Welcome.Rooms took the request URI for a room, and not the operator's script
	RURI     string        // request URI as Kamailio has it after its routing, not checked
	Request  *sip.Request  // nil if Err is set
	Err      error         // why the request could not be parsed, for a 400

	sent string // Kamailio's clock when it sent the frame
}

// Receipt is a MESSAGE request with a receipt (message/imdn+xml, RFC 5438) that Kamailio
// has answered by itself.
type Receipt struct {
	RURI    string       // request URI as Kamailio has it after its routing, not checked
	Request *sip.Request // nil if Err is set
	Err     error        // why the request could not be parsed
}

// Answer is the final reply to a Message.
type Answer struct {
	Code       int           // 200…699
	Reason     string        // reason phrase; CR, LF and NUL become spaces
	RC         int           // what the routing script sees: 1, or a negative code
	RetryAfter time.Duration // rounded up to seconds; 0: no such header
	// Unsupported is that header of a 420, option tags with commas between; empty: none. At
	// most 256 bytes. An imc.cfg that is older leaves it out.
	Unsupported string
}

// Result is the final outcome of one Copy. A Local one of 500 or above (lost
// connection 503, Kamailio out of memory 500) may go well later; one below says
// that Kamailio does not take the copy as it is. The same outcome may be told
// again, if the recipient repeats its reply.
type Result struct {
	CallID     string
	Code       int           // SIP status code; 408 for a timeout
	RetryAfter time.Duration // of a 4xx/5xx reply; 0 if absent
	Local      bool          // no SIP reply: Kamailio refused the frame or the connection was lost
	Reason     string        // for Local: why
}

// Call is a JSON-RPC request that an operator sent through Kamailio.
type Call struct {
	Conn *Conn
	Tag  string // the operator's connection at Kamailio
	JSON []byte // not checked
}

// RoomRule says which user parts are rooms to Kamailio (IMC_ROOM).
type RoomRule struct {
	Expression string // POSIX extended regular expression, compared in any case
	Prefix     string // what names of rooms begin with by convention (IMC_ROOM_PREFIX); may be empty
}

// Welcome is what Kamailio says of itself after a right hello.
type Welcome struct {
	Gen          int64  // counts hellos since Kamailio's start
	Start        string // another one after each start of Kamailio; empty: it does not say
	Version      string // Kamailio's version
	HeaderSecret string // value for the X-IMC-Secret header of everything sent
	NextHop      string // SIP URI of Kamailio itself, for the fan-out
	Features     []string

	Rooms     *RoomRule // which user parts Kamailio hands over; nil if it does not say
	Domains   []string  // hosts that are Kamailio's own, as far as it can tell; may be empty
	AnyDomain bool      // it takes every domain for its own (IMC_ANY_DOMAIN)

	// Restarted: Kamailio is another process than at the last Up of this
	// Conn. Copies that it had taken have no Result and never will.
	Restarted bool
}

// NameHandler is what a Handler may be, too, if it looks names up.
type NameHandler interface {
	// Unresolved takes a copy for a user whose contact has a name for a host, and no port if
	// that is 0. It must not block. True: the copy is sent again, with Dest, or gets its Result
	// from elsewhere. False: Kamailio is to look it up, in one of its workers for batches.
	Unresolved(c *Conn, cp Copy, host string, port uint16) bool
}

// DrainHandler is what a Handler may be, too, if it is to be told when Send takes copies
// again.
type DrainHandler interface {
	// Drained says that the queues of c are half empty after Send has returned ErrFull, or
	// that the connection was lost. It comes from any goroutine of c and must not block.
	Drained(c *Conn)
}

// Handler takes what arrives from Kamailio. All methods are called from the
// connection's reader, Result also from other goroutines of the Conn: they must not
// block and must not keep slices.
type Handler interface {
	Up(c *Conn, w Welcome)
	// Down is called once for each Up, after the Results of all copies that
	// were queued, or in a frame of which it is not known that Kamailio has it
	// (Local, code 503). Copies that went by SIP may still have theirs.
	Down(c *Conn, err error)
	Message(m *Message)
	Receipt(r *Receipt)
	Result(c *Conn, r Result)
	Registered(c *Conn, aor string)
	Call(q *Call)
}
