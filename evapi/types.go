package evapi

import (
	"errors"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// MaxFrame is the largest netstring payload, in bytes, that Kamailio's evapi reads (its
// buffer of 32767 less header and comma).
const MaxFrame = 32760

// WindowBytes bounds the bytes that are written before Kamailio's pong is awaited.
const WindowBytes = 30000

// Errors of Conn's methods.
var (
	// ErrDown: there is no authenticated connection to Kamailio now.
	ErrDown = errors.New("evapi: not connected to Kamailio")
	// ErrFull: the connection's outgoing queue is full. See DrainHandler.
	ErrFull = errors.New("evapi: outgoing queue is full")
	// ErrTooLarge: a frame would exceed MaxFrame.
	ErrTooLarge = errors.New("evapi: frame too large for Kamailio")
	// ErrMemory: Kamailio has too little shared memory for what can be left out.
	ErrMemory = errors.New("evapi: less than half of Kamailio's shared memory is free")
)

// TxID names a suspended transaction of one Kamailio, as its tm module does.
type TxID struct {
	Index int64
	Label int64
}

// Message is a SIP MESSAGE request that waits in Kamailio for its answer; to a RequestHandler, a request of another
// method.
type Message struct {
	Conn     *Conn     // where the answer must go; never nil
	Tx       TxID      //
	Received time.Time // when the frame was read
	// Age is the time since Kamailio got the request, over all tries, when the frame was
	// read. Kamailio answers 503 by itself after 5 s.
	Age      time.Duration
	Proto    string       // udp, tcp, tls, ws, wss
	SrcIP    string       //
	SrcPort  int          //
	AuthUser string       // $au; empty without authentication
	Foreign  bool         // Kamailio said that From is in no domain of its own
	ByRule   bool         // Welcome.Rooms took the request URI for a room, and not the operator's script
	Factory  bool         // the request URI is the address at which clients make rooms (IMC_FACTORY)
	RURI     string       // request URI after Kamailio's routing, not checked
	Request  *sip.Request // nil if Err is set
	Err      error        // why the request could not be parsed, for a 400

	// Slot is Hash of the room in the request URI, modulo 1024, as Kamailio computed it: a
	// hint. Tries counts how often Kamailio has given the request to an engine or parked it,
	// this time included; the first may have carried it out. Both are 0 from an older imc.cfg.
	Slot, Tries int

	sent string // Kamailio's clock when it sent the frame
}

// Receipt is a MESSAGE request with a receipt (message/imdn+xml, RFC 5438) that Kamailio
// has answered by itself.
type Receipt struct {
	RURI    string       // request URI after Kamailio's routing, not checked
	Request *sip.Request // nil if Err is set
	Err     error        // why the request could not be parsed
}

// Answer is the final reply to a Message.
type Answer struct {
	Code       int           // 200…699
	Reason     string        // reason phrase; CR, LF and NUL become spaces
	RC         int           // return code for the routing script: 1, or a negative code
	RetryAfter time.Duration // rounded up to seconds; 0: no such header
	// Unsupported is that header of a 420: option tags with commas between them; empty: no
	// such header. At most 256 bytes. An older imc.cfg leaves it out.
	Unsupported string
	// Headers are further lines of the answer, see HeaderLines. Conn and Kamailio write Via, Route, Record-Route, From,
	// To, Call-ID, CSeq and the headers of a body themselves. At most 1024 bytes. An older imc.cfg leaves them out.
	Headers string
}

// HeaderLines are headers as Answer has them. Line ends in a value become spaces.
func HeaderLines(headers ...Header) string {
	var b strings.Builder
	for _, h := range headers {
		b.WriteString(h.Name + ": " + strings.NewReplacer("\r", " ", "\n", " ").Replace(h.Value) + "\r\n")
	}
	return b.String()
}

// Result is the final outcome of one Copy. A Local one of 500 or above (lost connection
// 503, Kamailio out of memory 500) may succeed later; with a lower one Kamailio will never
// take the copy as it is. An outcome is reported twice if the recipient repeats its reply.
type Result struct {
	CallID     string
	Device     string        // Copy.Device
	Code       int           // SIP status code; 408 for a timeout
	RetryAfter time.Duration // of a 4xx/5xx reply; 0 if absent
	Local      bool          // no SIP reply: Kamailio refused the frame or the connection was lost
	Reason     string        // for Local: why
	Dialog     *Dialog       // that an accepted INVITE has made; nil else
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
	Prefix     string // how names of rooms begin by convention (IMC_ROOM_PREFIX); may be empty
}

// FeatureDevices among the Features of a Welcome says that the Result of each copy has its Device.
const FeatureDevices = "devices"

// Welcome is Kamailio's answer to a right hello.
type Welcome struct {
	Conn         *Conn  // that has it; nil from DecodeEvent
	Gen          int64  // counts hellos since Kamailio's start
	Place        int    // of this engine among those at this Kamailio, 1 to 7; 0: alone
	Start        string // another word after each start of Kamailio; empty: an older imc.cfg
	Version      string // Kamailio's version
	HeaderSecret string // value for the X-IMC-Secret header of all copies
	NextHop      string // SIP URI of Kamailio itself, for the fan-out
	// Peer is the SIP URI of Kamailio for those of other hosts (IMC_PEER_URIS); empty: it has no peers.
	Peer     string
	Features []string

	Rooms     *RoomRule // which user parts are rooms; nil: an older imc.cfg
	Domains   []string  // hosts that are Kamailio's own, as far as it knows; may be empty
	AnyDomain bool      // it takes every domain for its own (IMC_ANY_DOMAIN)

	// Restarted: Kamailio is another process than at the last Up of this Conn. Copies that
	// the old one had taken have no Result and never will.
	Restarted bool
}

// NameHandler is an optional interface of a Handler that looks names up.
type NameHandler interface {
	// Unresolved takes a copy for a user whose contact has a name for a host; port is 0 if
	// it has none. It must not block. True: the copy is sent again, with Dest, or gets its
	// Result from elsewhere. False: a batch worker of Kamailio looks the name up.
	Unresolved(c *Conn, cp Copy, host string, port uint16) bool
}

// RequestHandler is an optional interface of a Handler that takes requests other than MESSAGE.
type RequestHandler interface {
	// Request takes an INVITE, SUBSCRIBE, REFER or BYE to a room, or to the factory of rooms (imc-native.cfg). Without
	// it such a request is answered 405. It must not block.
	Request(m *Message)
}

// DrainHandler is an optional interface of a Handler that waits until Send takes copies
// again.
type DrainHandler interface {
	// Drained says that the queues of c are half empty after Send has returned ErrFull, or
	// that the connection was lost. It comes from any goroutine of c and must not block.
	Drained(c *Conn)
}

// GoneHandler is an optional interface of a Handler that knows of other engines.
type GoneHandler interface {
	// Gone says that the connection of another engine (Config.Engine) to this Kamailio was
	// lost. It must not block.
	Gone(c *Conn, engine string)
}

// Handler takes events from Kamailio. The connection's reader calls all methods, and other
// goroutines of the Conn call Result, too: they must not block and must not keep slices.
type Handler interface {
	Up(c *Conn, w Welcome)
	// Down is called once for each Up, after the Results of all copies that were queued,
	// or in a frame that Kamailio has not confirmed (Local, code 503). Copies that went by
	// SIP may still have theirs.
	Down(c *Conn, err error)
	Message(m *Message)
	Receipt(r *Receipt)
	Result(c *Conn, r Result)
	Registered(c *Conn, r Registration)
	Call(q *Call)
}
