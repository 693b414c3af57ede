package evapi

import "errors"

// Conn is the connection to one Kamailio.
type Conn struct{ cfg Config }

// Stats counts what happened on a Conn since it was made.
type Stats struct {
	Up            bool   // authenticated now
	Queued        int    // copies, replies and answers that wait to be written
	FramesIn      uint64 // frames read
	FramesOut     uint64 // frames written, pings included
	Windows       uint64 // windows written
	Reconnects    uint64 // welcomes after the first
	DecodeErrors  uint64 // frames that could not be understood; each ended a connection
	UnknownEvents uint64 // frames with a method that is not known; ignored
	Messages      uint64 // imc.message
	Results       uint64 // imc.result
	Errors        uint64 // imc.error
	Registered    uint64 // imc.registered
	Calls         uint64 // imc.call
	Pongs         uint64 // imc.pong
}

// NewConn checks cfg and returns a Conn that is not started yet.
func NewConn(cfg Config, h Handler) (*Conn, error) {
	if h == nil {
		return nil, errors.New("evapi: Handler is nil")
	}
	return &Conn{cfg: cfg}, nil
}

// Start begins to connect; it returns at once.
func (c *Conn) Start() {}

// Stop closes the connection and waits until nothing of it runs any more.
func (c *Conn) Stop() {}

// Name is the label of this connection in logs and metrics.
func (c *Conn) Name() string { return c.cfg.Name }

// Ready reports whether there is an authenticated connection to Kamailio now.
func (c *Conn) Ready() bool { return false }

// Send queues one copy. It never blocks: ErrDown, ErrFull or ErrTooLarge.
func (c *Conn) Send(cp Copy) error { return ErrDown }

// Reply queues the answer of a suspended transaction. It never blocks.
func (c *Conn) Reply(tx TxID, a Answer) error { return ErrDown }

// Answer queues a JSON-RPC response for the operator's connection tag.
func (c *Conn) Answer(tag string, json []byte) error { return ErrDown }

// Stats returns the counters.
func (c *Conn) Stats() Stats { return Stats{} }
