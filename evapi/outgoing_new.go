package evapi

// Outgoing is one MESSAGE as all its copies share it: checked, and escaped for
// the wire once. It is immutable and safe for concurrent use.
type Outgoing struct{}

// NewOutgoing checks c and prepares it for the wire. A CR, LF or NUL in From,
// ContentType or a header is an error that names the field. ErrTooLarge, with
// the numbers, if a copy to a recipient URI of 160 bytes might not fit a frame.
func NewOutgoing(c Content) (*Outgoing, error) { return &Outgoing{}, nil }
