package evapi_test

import (
	"fmt"
	"sync"
	"testing"

	"imcd/evapi"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// named starts a Conn of an engine with a name.
func named(t *testing.T, k *evapitest.Kamailio, name string, lane evapi.Lane, next string, ev *events) *evapi.Conn {
	t.Helper()
	return startReal(t, evapi.Config{Addr: k.EvapiAddr(), Secret: k.Secret(), Engine: name, NextHop: next,
		Fanout: lane, QueueCopies: 65536}, ev, ev.up)
}

// startReal connects to a real Kamailio, and returns once there is something in up. The connection ends with the test.
func startReal(t testing.TB, cfg evapi.Config, h evapi.Handler, up <-chan struct{}) *evapi.Conn {
	t.Helper()
	c, err := evapi.NewConn(cfg, h)
	if err != nil {
		t.Fatal(err)
	}
	c.Start()
	t.Cleanup(c.Stop)
	kit.Await(t, "connected", up)
	return c
}

// TestRealEngines: three engines at one Kamailio each send copies, on each lane, and have the outcomes of all their own
// and of no other ones; also when one of them connects again.
func TestRealEngines(t *testing.T) {
	for _, tt := range []struct {
		lane  evapi.Lane
		local string
	}{{evapi.LaneRPC, ""}, {evapi.LaneBatch, ""}, {evapi.LaneSIP, ""}, {evapi.LaneSIP, throughLocal}} {
		t.Run(tt.lane.String()+tt.local, func(t *testing.T) {
			k := kit.Kamailio(t, evapitest.Options{IMCLocal: tt.local})
			uri, _ := fastSink(t)
			var running sync.WaitGroup
			for _, name := range []string{"", "7", "8"} {
				e := &engineOfCopies{name: name, left: map[string]bool{}, done: make(chan struct{})}
				e.conn = named(t, k, name, tt.lane, uri, newEvents(e.result))
				running.Go(func() { e.run(t) })
			}
			running.Wait()
		})
	}
}

// engineOfCopies sends copies and wants their outcomes.
type engineOfCopies struct {
	name string
	conn *evapi.Conn

	mu    sync.Mutex
	left  map[string]bool // copies without an outcome; guarded by mu
	wrong []string        // guarded by mu
	done  chan struct{}   // closed when there is none left
}

func (e *engineOfCopies) result(r evapi.Result) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r.Code != 200 || !e.left[r.CallID] {
		e.wrong = append(e.wrong, fmt.Sprintf("%+v", r))
	}
	delete(e.left, r.CallID)
	if len(e.left) == 0 {
		close(e.done)
	}
}

func (e *engineOfCopies) run(t *testing.T) {
	out, err := evapi.NewOutgoing(evapi.Content{From: "<sip:chat-r@example.org>", Body: []byte("hello")})
	if err != nil {
		t.Error(err)
		return
	}
	const copies = 500
	e.mu.Lock()
	for i := range copies {
		e.left[fmt.Sprintf("of-%s-%d", e.name, i)] = true
	}
	e.mu.Unlock()
	for i := range copies {
		err := e.conn.Send(evapi.Copy{Out: out, To: fmt.Sprintf("sip:user%d@example.org", i),
			CallID: fmt.Sprintf("of-%s-%d", e.name, i)})
		if err != nil {
			t.Error(err)
			return
		}
	}
	select {
	case <-e.done:
	case <-kit.Context(t).Done():
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.left) > 0 || len(e.wrong) > 0 {
		t.Errorf("engine %q: %d copies without an outcome; wrong: %q", e.name, len(e.left), e.wrong)
	}
}

// TestRealHandOver: requests wait while a shard is parked, and go to its next owner; one that is already with the first
// owner is its to answer.
func TestRealHandOver(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	none := func(evapi.Result) {}
	firstEvents, secondEvents := newEvents(none), newEvents(none)
	first := named(t, k, "7", evapi.LaneAuto, "", firstEvents)
	second := named(t, k, "8", evapi.LaneAuto, "", secondEvents)
	for _, err := range []error{first.Fleet(1), first.Own([]evapi.Shard{{Shard: 0, Epoch: 1}})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	alice := kit.UA(t, evapitest.UAConfig{User: "alice", Proxy: k.SIPAddr(), Domain: "chat.test"})
	answers := make(chan string, 10)
	say := func(text string) {
		go func() {
			res, err := alice.Say(kit.Context(t), "sip:chat-1@chat.test", text)
			if err != nil {
				answers <- err.Error()
				return
			}
			answers <- fmt.Sprint(text, " ", res.StatusCode, " ", res.Reason)
		}()
	}
	say("before")
	early := kit.Await(t, "the message", firstEvents.messages)
	if err := first.Park(kit.Context(t), []int{0}); err != nil {
		t.Fatal(err)
	}
	say("after")
	kit.Eventually(t, "it is parked", func() bool { return second.Stats().Parked >= 1 })
	if err := first.Reply(early.Tx, evapi.Answer{Code: 200, Reason: "first", RC: 1}); err != nil {
		t.Fatal(err)
	}
	if got := kit.Await(t, "the answer", answers); got != "before 200 first" {
		t.Error(got)
	}
	if err := second.Own([]evapi.Shard{{Shard: 0, Epoch: 2}}); err != nil {
		t.Fatal(err)
	}
	late := kit.Await(t, "the message", secondEvents.messages)
	if late.Tries != 2 || late.Age <= 0 {
		t.Errorf("tries %d, age %v", late.Tries, late.Age)
	}
	if err := second.Reply(late.Tx, evapi.Answer{Code: 200, Reason: "second", RC: 1}); err != nil {
		t.Fatal(err)
	}
	if got := kit.Await(t, "the answer", answers); got != "after 200 second" {
		t.Error(got)
	}
}
