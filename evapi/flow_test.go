package evapi

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"imcd/evapi/evapitest/kit"
)

// TestDistantDevices: while devices are distant, Kamailio always has requests to read, as
// marks tell in time what it has read.
func TestDistantDevices(t *testing.T) {
	t.Parallel()
	const requests, perRead, trip = 20000, 12 * time.Microsecond, 200 * time.Microsecond
	var p sipFlow
	began := time.Now()
	now, free := began, began // free is when Kamailio has read all that was sent
	type answer struct {
		at     time.Time
		branch uint64
	}
	var answers []answer
	put := func(branch uint64) {
		if free.Before(now) {
			free = now
		}
		free = free.Add(perRead)
		if branch != 0 {
			answers = append(answers, answer{free.Add(trip), branch})
		}
	}
	for n := 0; n < requests; {
		for len(answers) > 0 && !answers[0].at.After(now) {
			p.answered(answers[0].branch, now)
			answers = answers[1:]
		}
		wait, ask := p.hold(now)
		switch {
		case ask:
			put(p.ask(now))
		case wait > 0:
			if wait > 0 && len(answers) > 0 && answers[0].at.Before(now.Add(wait)) {
				wait = answers[0].at.Sub(now)
			}
			now = now.Add(wait)
		default:
			for i := 0; i < linkBatch && p.left(); i++ {
				p.next(minDatagram, now)
				put(0)
				n++
			}
			if p.behind() {
				put(p.ask(now))
			}
			if unread := p.sent - p.read; unread > blindWindow+minDatagram {
				t.Fatalf("%d bytes may be unread", unread)
			}
			now = now.Add(10 * time.Microsecond)
		}
	}
	if took, least := free.Sub(began), requests*perRead; took > least*11/10 {
		t.Errorf("Kamailio had all after %v, and works for %v", took, least)
	}
}

// flowLink is a link without goroutines.
func flowLink(t *testing.T) *sipLink {
	t.Helper()
	cfg := testConfig("127.0.0.1:1")
	cfg.QueueCopies = 40
	c, err := NewConn(cfg, &recorder{})
	if err != nil {
		t.Fatal(err)
	}
	return &sipLink{c: c, pending: newSIPTransactions(), open: true, wake: newSignal()}
}

func flowCopy(t *testing.T, i int) *Copy {
	return &Copy{Out: simpleOutgoing(t, "x"), To: "sip:a@h", CallID: fmt.Sprint("id", i)}
}

// TestSilentLeaveHalf: what is sent again for silent devices leaves half of each batch to
// copies that wait for their first time.
func TestSilentLeaveHalf(t *testing.T) {
	t.Parallel()
	l := flowLink(t)
	long := time.Now().Add(-time.Minute)
	for i := range 200 {
		cp := flowCopy(t, i)
		l.pending.begin(entry{out: cp.Out, to: cp.To, callID: cp.CallID}, long)
	}
	var r round
	if l.next(&r); len(r.txs) != linkBatch {
		t.Errorf("%d are sent again while nothing else is to be sent", len(r.txs))
	}
	for i := range 20 {
		if err := l.put(flowCopy(t, 1000+i)); err != nil {
			t.Fatal(err)
		}
	}
	l.next(&r)
	first := 0
	for _, tx := range r.txs {
		if strings.HasPrefix(tx.callID, "id10") && len(tx.callID) == len("id1000") {
			first++
		}
	}
	if first != linkBatch/2 || len(r.txs) != linkBatch {
		t.Errorf("%d of %d are sent for the first time", first, len(r.txs))
	}
}

// TestLinkQueue: few copies wait in a link; it says when there is space again.
func TestLinkQueue(t *testing.T) {
	t.Parallel()
	l := flowLink(t)
	for i := range 40 {
		if err := l.put(flowCopy(t, i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.put(flowCopy(t, 40)); !errors.Is(err, ErrFull) {
		t.Errorf("one more: %v", err)
	}
	first, again := flowCopy(t, 41), flowCopy(t, 42)
	first.First, again.Dest = true, "sip:192.0.2.1"
	for _, cp := range []*Copy{first, again} {
		if err := l.put(cp); err != nil {
			t.Errorf("%+v: %v", cp, err)
		}
	}
	var r round
	if l.next(&r); r.txs[0].callID != first.CallID || !r.drained || len(r.txs) != linkBatch {
		t.Errorf("%d sent, first %q, drained %v", len(r.txs), r.txs[0].callID, r.drained)
	}
	if l.next(&r); r.drained {
		t.Error("said twice")
	}
}

// drainRecorder counts the calls of DrainHandler.
type drainRecorder struct {
	recorder
	drains atomic.Int64
}

func (d *drainRecorder) Drained(*Conn) { d.drains.Add(1) }

// TestDrained: after ErrFull, on either way, the handler hears that it may send; and when
// the connection is lost.
func TestDrained(t *testing.T) {
	t.Parallel()
	for _, lane := range []Lane{LaneSIP, LaneBatch} {
		p := newSIPPeer(t)
		end := make(chan struct{})
		f := newFake(t, func(peer *fakePeer) {
			go func() {
				<-end
				peer.Close()
			}()
			p.serve(nil)(peer)
		})
		r := &drainRecorder{}
		cfg := testConfig(f.addr())
		cfg.QueueCopies, cfg.Fanout = 8, lane
		c := startConn(t, cfg, r)
		kit.Eventually(t, "up", func() bool { return r.has("up 1") })
		full, o := 0, simpleOutgoing(t, "x")
		for i := 0; i < 5000 && full == 0; i++ {
			if err := c.Send(Copy{Out: o, To: "sip:a@h", CallID: fmt.Sprint("id", i)}); errors.Is(err, ErrFull) {
				full++
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if full == 0 {
			t.Fatalf("%v: the queue is never full", lane)
		}
		kit.Eventually(t, "drained", func() bool { return r.drains.Load() > 0 })
		if err := c.Send(Copy{Out: o, To: "sip:a@h", CallID: "again"}); err != nil {
			t.Errorf("%v: %v", lane, err)
		}
		was := r.drains.Load()
		close(end)
		kit.Eventually(t, "both calls at the end", func() bool { return r.has("down") && r.drains.Load() > was })
		c.Stop()
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	gauged := sipFlow{size: 1}
	rpc, batch, direct := &peer{lane: LaneRPC}, &peer{lane: LaneBatch}, &peer{lane: LaneBatch, direct: true}
	for name, c := range map[string]struct {
		link *sipLink
		peer *peer // nil: no connection
		shm  uint64
		want Bounds
	}{
		"not yet":              {nil, nil, 0, Bounds{}},
		"SIP to devices":       {&sipLink{open: true, direct: true, flow: gauged}, direct, 64 << 20, Bounds{Paced: true}},
		"SIP to a next hop":    {&sipLink{open: true, way: toHop, flow: gauged}, batch, 64 << 20, Bounds{Paced: true}},
		"SIP to the routing":   {&sipLink{open: true, flow: gauged}, batch, 64 << 20, Bounds{Copies: 3495, Paced: true}},
		"SIP without a gauge":  {&sipLink{open: true, direct: true}, direct, 64 << 20, Bounds{}},
		"SIP that was refused": {&sipLink{}, batch, 64 << 20, Bounds{Copies: 1747}},
		"direct":               {nil, direct, 64 << 20, Bounds{Copies: 3495, Paced: true}},
		"batch":                {nil, batch, 64 << 20, Bounds{Copies: 1747}},
		"rpc":                  {nil, rpc, 64 << 20, Bounds{Copies: 1747}},
		"it does not say":      {nil, rpc, 0, Bounds{}},
	} {
		conn, err := NewConn(testConfig("127.0.0.1:1"), &recorder{})
		if err != nil {
			t.Fatal(err)
		}
		if c.peer != nil {
			conn.box.open(c.peer)
		}
		if c.link != nil {
			conn.link.Store(c.link)
		}
		conn.memory.update(c.shm/2, c.shm, time.Now())
		if got := conn.Bounds(); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// TestSmallBuffer: that the kernel grants less than was asked for is logged once.
func TestSmallBuffer(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	cfg := testConfig("127.0.0.1:1")
	cfg.Log = zerolog.New(&log)
	c, err := NewConn(cfg, &recorder{})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c.enlarge(conn, 4096)
	if log.Len() > 0 {
		t.Errorf("there is enough: %s", &log)
	}
	for range 2 {
		c.enlarge(conn, 1<<30)
	}
	if n := strings.Count(log.String(), "net.core.rmem_max"); n != 1 {
		t.Errorf("logged %d times: %s", n, &log)
	}
}
