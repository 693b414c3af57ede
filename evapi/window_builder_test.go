package evapi

import (
	"fmt"
	"strings"
	"testing"

	"imcd/evapi/evapitest/kit"
)

func batchPeer(t *testing.T) *peer {
	t.Helper()
	p := *testPeer
	p.lane = LaneBatch
	return &p
}

func copyEntry(o *Outgoing, n int) *entry {
	e := &entry{out: o, to: fmt.Sprintf("sip:user%d@example.org", n), callID: fmt.Sprintf("000-abc-7-%d", n)}
	e.size = o.size(len(e.to), len(e.callID), testPeer) + netstringOverhead
	return e
}

// TestWindowGroups: copies of one message travel together, however they come.
func TestWindowGroups(t *testing.T) {
	t.Parallel()
	p := batchPeer(t)
	a, b := simpleOutgoing(t, "a"), simpleOutgoing(t, "b")
	var c windowBuilder
	c.reset(maxBatches)
	for i := range 100 {
		for _, o := range []*Outgoing{a, b} {
			if !c.add(copyEntry(o, i), p) {
				t.Fatalf("no space for copy %d", i)
			}
		}
	}
	if len(c.frames) != 4 || c.batches != maxBatches-4 {
		t.Fatalf("%d frames, %d batches left", len(c.frames), c.batches)
	}
	for i := range c.frames {
		l := &c.frames[i]
		if !l.batched || len(l.entries) > batchCopies {
			t.Errorf("frame %d has %d", i, len(l.entries))
		}
		for _, e := range l.entries {
			if e.out != l.entries[0].out {
				t.Errorf("two messages in frame %d", i)
			}
		}
	}
	c.reset(1)
	if len(c.frames) != 0 || !c.add(copyEntry(a, 1), p) || c.add(copyEntry(b, 1), p) || !c.add(copyEntry(a, 2), p) {
		t.Error("one batch may be begun, no second one")
	}
}

// TestWindowFits: a window is never longer than it may be, and a batch never longer
// than was reckoned.
func TestWindowFits(t *testing.T) {
	t.Parallel()
	p := batchPeer(t)
	for size := 0; size < 23000; size += 400 {
		w := newWriter(&session{c: &Conn{}}, p)
		w.window.reset(maxBatches)
		n := 0
		for o := simpleOutgoing(t, strings.Repeat("\x00", size)); w.window.add(copyEntry(o, n), p); n++ {
			if n%10 == 9 {
				o = simpleOutgoing(t, strings.Repeat("x", size))
			}
		}
		win := w.build()
		limit := WindowBytes
		if n == 1 {
			limit = MaxFrame + netstringOverhead
		}
		if n == 0 || len(win.copies) != n || len(w.buf) > limit {
			t.Fatalf("body of %d: %d copies (%d in the window), %d bytes", size, n, len(win.copies), len(w.buf))
		}
	}
	// What no batch takes goes alone.
	long := simpleOutgoing(t, strings.Repeat("x", 31000))
	var c windowBuilder
	c.reset(maxBatches)
	if long.inBatch() != nil || !c.add(copyEntry(long, 1), p) || c.frames[0].batched || c.add(copyEntry(long, 2), p) {
		t.Error("a message too long for a batch")
	}
}

// TestConnBatches: no more batches go to Kamailio than it may have unfinished, and
// those it has taken are not reported lost with the connection.
func TestConnBatches(t *testing.T) {
	t.Parallel()
	taken := make(chan string, 100)
	finish, cut := make(chan struct{}), make(chan struct{})
	f := newFake(t, func(p *fakePeer) {
		if p.read() != "hello "+testSecret {
			return
		}
		p.send(strings.Replace(welcomeJSON("engine", p.n), enc("send registered outcomes"), enc("outcomes batch"), 1))
		done := ""
		for n := 0; ; {
			select {
			case <-cut:
				if p.n == 1 {
					return
				}
			case <-finish:
				done = "= 1 = 2 = 3 "
			default:
			}
			frames, ping := p.window()
			if ping == "" {
				return
			}
			for _, fr := range frames {
				n++
				taken <- fr
			}
			p.send(event("imc.pong", `{"id":"`+pingID(ping)+`","outcomes":"`+strings.TrimSpace(done)+`"}`))
			done = ""
		}
	})
	rec := &recorder{}
	c := startConn(t, testConfig(f.addr()), rec)
	kit.Eventually(t, "up", c.Ready)
	for i := range 12 {
		o := simpleOutgoing(t, fmt.Sprint(i))
		if err := c.Send(Copy{Out: o, To: "sip:bob@h", CallID: fmt.Sprint("c", i)}); err != nil {
			t.Fatal(err)
		}
	}
	kit.Eventually(t, "as many batches as may be", func() bool { return len(taken) == maxBatches })
	before := c.Stats().Pongs
	kit.Eventually(t, "pings in between", func() bool { return c.Stats().Pongs > before+3 })
	if len(taken) != maxBatches || c.Stats().Queued != 4 {
		t.Errorf("%d taken, %d wait", len(taken), c.Stats().Queued)
	}
	close(finish)
	kit.Eventually(t, "three more", func() bool { return len(taken) >= maxBatches+3 })
	close(cut)
	kit.Eventually(t, "up again", func() bool { return rec.has("up 2") })
	for i := range 11 {
		if rec.count(fmt.Sprintf("result c%d 503", i)) > 0 {
			t.Errorf("copy %d, which was taken, is reported lost", i)
		}
	}
	kit.Eventually(t, "the last one is settled", func() bool {
		return len(taken) == 12 || rec.count("result c11 503") == 1
	})
	if got := <-taken; !strings.Contains(got, `"imc.batch","params":["1","batch",`) || !strings.HasSuffix(got,
		`"sip:bob@h c0 .<."]}`) {
		t.Errorf("%s", got)
	}
}
