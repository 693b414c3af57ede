package evapi_test

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"imcd/evapi"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// events is a Handler that hands everything to channels of enough capacity.
type events struct {
	up, down chan struct{}
	messages chan *evapi.Message
	receipts chan *evapi.Receipt
	calls    chan *evapi.Call
	regs     chan evapi.Registration
	result   func(evapi.Result)
}

func newEvents(result func(evapi.Result)) *events {
	return &events{
		up: make(chan struct{}, 100), down: make(chan struct{}, 100),
		messages: make(chan *evapi.Message, 1000), receipts: make(chan *evapi.Receipt, 1000),
		calls: make(chan *evapi.Call, 1000), regs: make(chan evapi.Registration, 1000), result: result,
	}
}

func (e *events) Up(*evapi.Conn, evapi.Welcome) { e.up <- struct{}{} }
func (e *events) Down(*evapi.Conn, error)       { e.down <- struct{}{} }
func (e *events) Message(m *evapi.Message)      { e.messages <- m }
func (e *events) Receipt(r *evapi.Receipt)      { e.receipts <- r }
func (e *events) Registered(_ *evapi.Conn, r evapi.Registration) {
	select {
	case e.regs <- r:
	default:
	}
}
func (e *events) Call(q *evapi.Call)                   { e.calls <- q }
func (e *events) Result(_ *evapi.Conn, r evapi.Result) { e.result(r) }

// connect starts a Conn whose copies go straight to next.
func connect(t *testing.T, k *evapitest.Kamailio, lane evapi.Lane, next string, ev *events) *evapi.Conn {
	t.Helper()
	return named(t, k, "", lane, next, ev)
}

// TestRealEveryFrameOnce sends 20000 frames of random sizes: Kamailio must have
// executed each of them once.
func TestRealEveryFrameOnce(t *testing.T) {
	for _, lane := range []evapi.Lane{evapi.LaneRPC, evapi.LaneBatch, evapi.LaneSIP} {
		t.Run(lane.String(), func(t *testing.T) { everyFrameOnce(t, lane, "") })
	}
	t.Run("through", func(t *testing.T) { everyFrameOnce(t, evapi.LaneSIP, throughLocal) })
}

func everyFrameOnce(t *testing.T, lane evapi.Lane, local string) {
	const copies, outstanding = 20000, 1000
	k := kit.Kamailio(t, evapitest.Options{SHM: 2048, IMCLocal: local}) // a transaction stays 5 s after its end
	var mu sync.Mutex
	sums := make(map[string]uint32, copies)
	s := newSink(t, func(callID string, body []byte) error {
		mu.Lock()
		defer mu.Unlock()
		if want, ok := sums[callID]; !ok || want != crc32.ChecksumIEEE(body) {
			return fmt.Errorf("body of %d bytes is not the one that was sent", len(body))
		}
		return nil
	})
	room := make(chan struct{}, outstanding)
	var bad []evapi.Result
	again := 0
	done := make(map[string]bool, copies)
	c := connect(t, k, lane, s.uri(), newEvents(func(r evapi.Result) {
		mu.Lock()
		defer mu.Unlock()
		if r.Code != 200 {
			bad = append(bad, r)
		}
		if done[r.CallID] {
			again++ // on a slow machine the sink answers retransmissions
			return
		}
		done[r.CallID] = true
		<-room
	}))
	random := rand.New(rand.NewPCG(1, 2))
	text := randomText(random)
	began := time.Now()
	for i := range copies {
		room <- struct{}{}
		body := randomBody(random, text, i)
		callID := fmt.Sprintf("%d-%x@imcd", i, random.Uint32())
		mu.Lock()
		sums[callID] = crc32.ChecksumIEEE(body)
		mu.Unlock()
		out, err := evapi.NewOutgoing(evapi.Content{From: `"R" <sip:chat-r@example.org>`, Body: body})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Send(evapi.Copy{Out: out, To: fmt.Sprintf("sip:u%d@example.org", i), CallID: callID}); err != nil {
			t.Fatal(err)
		}
	}
	kit.Eventually(t, "a result for each", func() bool { return len(room) == 0 })
	took := time.Since(began)
	ids, twice := s.counts()
	st := c.Stats()
	mu.Lock()
	defer mu.Unlock()
	if ids != copies || twice != 0 || len(bad) != 0 || len(s.trouble()) != 0 || st.Reconnects != 0 || st.Errors != 0 {
		t.Errorf("%d of %d arrived, %d twice, results %v, problems %.5q, %+v", ids, copies, twice, bad, s.trouble(), st)
	}
	t.Logf("%d frames in %d windows, %v, %.0f/s, %d results came again", copies, st.Windows, took, copies/took.Seconds(),
		again)
}

// randomText is what bodies are cut from.
func randomText(random *rand.Rand) []byte {
	text := make([]byte, 64<<10)
	for i := range text {
		text[i] = byte(' ' + random.IntN(94))
		if text[i] == '"' || text[i] == '\\' {
			text[i] = 0xe4
		}
	}
	return text
}

// randomBody is mostly 400 to 8000 bytes; some are as large as can be, or hold a NUL.
func randomBody(random *rand.Rand, text []byte, i int) []byte {
	n := 400 + random.IntN(7601)
	if i%500 == 250 {
		n = 31300 + random.IntN(300)
	}
	start := random.IntN(len(text) - n)
	body := text[start : start+n]
	if i%100 == 17 {
		body = bytes.Clone(body)
		body[random.IntN(n)] = 0
	}
	return body
}

// TestRealReconnect restarts Kamailio under a Conn.
func TestRealReconnect(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	results := make(chan evapi.Result, 10)
	ev := newEvents(func(r evapi.Result) { results <- r })
	c := connect(t, k, evapi.LaneAuto, "", ev)
	for range 2 {
		if err := k.Kill(); err != nil {
			t.Fatal(err)
		}
		kit.Await(t, "down", ev.down)
		if err := k.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		kit.Await(t, "up again", ev.up)
		out, err := evapi.NewOutgoing(evapi.Content{From: "<sip:chat-r@example.org>", Body: []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Send(evapi.Copy{Out: out, To: "sip:bob@example.org", CallID: "1"}); err != nil {
			t.Fatal(err)
		}
		if r := kit.Await(t, "404", results); r.Local || r.Code != 404 {
			t.Errorf("%+v", r)
		}
	}
}

// TestRealFrozen freezes Kamailio: what is under way is reported as lost, or by SIP is
// answered later; nothing blocks, and the connection comes back.
func TestRealFrozen(t *testing.T) {
	for _, lane := range []evapi.Lane{evapi.LaneBatch, evapi.LaneSIP} {
		t.Run(lane.String(), func(t *testing.T) { realFrozen(t, lane) })
	}
}

func realFrozen(t *testing.T, lane evapi.Lane) {
	k := kit.Kamailio(t, evapitest.Options{})
	results := make(chan evapi.Result, 100)
	ev := newEvents(func(r evapi.Result) { results <- r })
	c := startReal(t, evapi.Config{Addr: k.EvapiAddr(), Secret: k.Secret(), DialTimeout: time.Second, Fanout: lane,
		QueueCopies: 65536, Heartbeat: 100 * time.Millisecond, DeadAfter: 500 * time.Millisecond,
		BackoffMax: 500 * time.Millisecond}, ev, ev.up)
	if err := k.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	out, err := evapi.NewOutgoing(evapi.Content{From: "<sip:chat-r@example.org>", Body: make([]byte, 10000)})
	if err != nil {
		t.Fatal(err)
	}
	accepted := 0
	for i := range 20 {
		if c.Send(evapi.Copy{Out: out, To: "sip:bob@example.org", CallID: fmt.Sprint(i)}) == nil {
			accepted++
		}
	}
	kit.Await(t, "down", ev.down)
	if lane == evapi.LaneBatch {
		for range accepted {
			if r := kit.Await(t, "result", results); !r.Local || r.Code != 503 {
				t.Errorf("%+v", r)
			}
		}
	}
	if err := k.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	kit.Await(t, "up again", ev.up)
	if lane == evapi.LaneSIP {
		local := 0
		for range accepted {
			// 503: imcd's address was not known any more, or not again; or the copy had
			// to wait for those before it.
			r := kit.Await(t, "result", results)
			if r.Code != 404 && r.Code != 503 {
				t.Errorf("%+v", r)
			}
			if r.Local {
				local++
			}
		}
		st := c.Stats()
		if sent := int(st.SIPSent - st.SIPAgain); sent == 0 || local != accepted-sent {
			t.Errorf("%d of %d copies were sent, and %d have no outcome", sent, accepted, local)
		}
	}
	before := c.Stats().Pongs
	kit.Eventually(t, "pongs", func() bool { return c.Stats().Pongs > before+3 })
}
