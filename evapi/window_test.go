package evapi

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"imcd/evapi/evapitest/kit"
)

// TestLostBatches: a batch of which Kamailio never says that it is done keeps its place for a time only.
func TestLostBatches(t *testing.T) {
	t.Parallel()
	taken := make(chan string, 100)
	f := newFake(t, func(p *fakePeer) {
		if p.read() != "hello "+testSecret {
			return
		}
		p.send(strings.Replace(welcomeJSON("engine", p.n), enc("send registered outcomes"), enc("outcomes batch"), 1))
		p.polite(func(frame string) { taken <- frame })
	})
	c := startChanged(t, testConfig(f.addr()), &recorder{}, func(c *Conn) { c.batchLost = 50 * time.Millisecond })
	kit.Eventually(t, "up", c.Ready)
	const batches = 2*maxBatches + 1
	for i := range batches {
		o := simpleOutgoing(t, fmt.Sprint(i)) // of its own, so that there is a batch for each
		if err := c.Send(Copy{Out: o, To: "sip:bob@h", CallID: fmt.Sprint("c", i)}); err != nil {
			t.Fatal(err)
		}
	}
	kit.Eventually(t, "all batches", func() bool { return len(taken) == batches })
}

// TestOpenBatches: a batch is open until it is done, or too old.
func TestOpenBatches(t *testing.T) {
	t.Parallel()
	start := time.Now()
	var b batches
	b.begin(&window{firstID: 7, at: start, batched: []bool{true, false, true}})
	b.begin(&window{firstID: 10, at: start.Add(time.Second), batched: []bool{true}})
	for _, tt := range []struct {
		before     time.Time
		open, lost int
	}{{start, 3, 0}, {start.Add(time.Second), 1, 2}, {start.Add(time.Second), 1, 0}} {
		if open, lost := b.count(tt.before); open != tt.open || lost != tt.lost {
			t.Errorf("%d open, %d lost; want %d and %d", open, lost, tt.open, tt.lost)
		}
	}
	b.end(10)
	if open, lost := b.count(start); open+lost != 0 {
		t.Errorf("%d open, %d lost, and it is done", open, lost)
	}
}
