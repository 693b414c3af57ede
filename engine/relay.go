package engine

import "imcd/evapi"

// Relay carries the engine's answers and copies to Kamailio. Its
// methods never block.
type Relay interface {
	// Reply answers the suspended request; if the connection it came on is
	// gone, Kamailio answers by itself.
	Reply(m *evapi.Message, a evapi.Answer)
	// Move hands a suspended request back to Kamailio: its room, of that slot, belongs to another engine. An
	// error means that Kamailio cannot do this.
	Move(m *evapi.Message, slot int) error
	// Send queues one copy, through the Kamailio via if it is connected and its queue is not
	// full, else through another, and says which; via may be nil. The outcome comes to Engine.Result.
	// evapi.ErrDown and evapi.ErrFull mean later, other errors never.
	Send(via *evapi.Conn, c evapi.Copy) (*evapi.Conn, error)
	// Bounds says what copies under way are bounded by. After ErrFull, Engine.Drained says
	// when to try again.
	Bounds() evapi.Bounds
}
