package engine

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestQueuedOnce: somebody who registers several times while nothing can be sent is sent
// the copy under way once more, and not once for each time.
func TestQueuedOnce(t *testing.T) {
	bubble(t, nil, func(h *house) {
		h.answers("bob", result(0))
		h.says("1")
		h.wantSent("1")
		h.relay.set(func() { h.relay.down = true })
		for range 10 {
			h.pass(100 * time.Millisecond)
			h.registers("bob")
		}
		h.relay.set(func() { h.relay.down = false })
		h.e.Wake()
		synctest.Wait()
		h.wantSent("1")
	})
}
