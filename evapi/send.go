package evapi

import (
	"context"
	"errors"
)

// Start begins to connect; it returns at once. It does nothing if the Conn has been
// started or stopped before.
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

// Stop closes the connection and waits until all its goroutines have ended; the Handler
// has had its Down by then. Queued frames are not written: a caller that wants them
// written waits for Stats().Queued to become 0 before. Stop may be called more than once
// and before Start, but not from a Handler's method.
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
