package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

var errRefused = fmt.Errorf("%w: constraint violated", store.ErrInvalid)

// A commit that the database refuses changes nothing, for whoever asked and for
// what was built on it; all others go on.
func TestRefusedCommit(t *testing.T) {
	h := newHouse(t, nil)
	h.say("alice", "r", "#create")
	h.heard()
	h.store.fail = func(changes []store.Change) (error, bool) {
		for _, c := range changes {
			if c.Member.User.User == "bob" {
				return errRefused, false
			}
		}
		return nil, false
	}
	h.want(h.say("bob", "r", "#join"), 500, -49)
	h.wantHeard("bob<r: *** That cannot be stored")
	h.want(h.say("carol", "r", "#join"), 200, 1)
	h.want(h.say("bob", "r", "hi"), 403, -202)
	h.store.set(nil)
	h.want(h.say("bob", "r", "#join"), 200, 1)
	h.want(h.say("bob", "r", "#list"), 200, 1)
	if heard := h.heard(); !slices.Contains(heard, "bob<r: 3 members: *alice (owner), carol, bob") {
		t.Errorf("heard %q", heard)
	}
}

// The same, with requests that follow each other without waiting: those behind a
// refused change are evaluated on what is stored.
func TestChangesBehindARefusedOne(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.CreateOnJoin = false })
	h.store.gate = make(chan struct{})
	h.store.fail = func(changes []store.Change) (error, bool) {
		for _, c := range changes {
			if c.Op == store.PutRoom {
				return errRefused, false
			}
		}
		return nil, false
	}
	create := h.post("alice", "r@x.org", "#create")
	h.until("committing", func() bool { return h.e.committer.taken() })
	join := h.post("bob", "r@x.org", "#join")
	list := h.post("bob", "r@x.org", "#list")
	h.until("waiting behind it", func() bool {
		h.e.committer.mu.Lock()
		defer h.e.committer.mu.Unlock()
		return len(h.e.committer.waiting) == 2
	})
	close(h.store.gate)
	h.want(<-create, 500, -39)
	h.want(<-join, 404, -41)
	h.want(<-list, 404, -101)
	h.quiet()
	if d := h.store.dump(); d != "" {
		t.Errorf("stored: %s", d)
	}
	h.want(h.say("bob", "r", "hello"), 404, -201)
}

// Database away: 503 to everything that needs it, and all by itself as before
// when it is back. Rooms and members whose end was not committed are there again.
func TestDatabaseAway(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.OwnerLeave = OwnerLeaveRefuse })
	h.say("alice", "r", "#create private")
	h.say("alice", "r", "#add bob")
	h.say("alice", "s", "#create")
	h.heard()
	before := h.store.dump()
	set := func(away bool) {
		h.store.mu.Lock()
		defer h.store.mu.Unlock()
		h.store.away, h.store.fail = away, nil
		if away {
			h.store.fail = func([]store.Change) (error, bool) { return store.ErrUnavailable, false }
		}
	}
	set(true)
	h.want(h.say2("bob", "r", "#exit"), 503, -99)
	h.want(h.say2("alice", "r", "#destroy"), 503, -119)
	h.want(h.say2("alice", "s", "#add bob"), 503, -59)
	a := h.say2("bob", "r", "hello")
	h.want(a, 503, -209)
	if a.RetryAfter <= 0 {
		t.Error("503 without Retry-After")
	}
	h.want(h.say2("bob", "r", "#help"), 200, 1)
	set(false)
	h.until("healthy", h.e.Healthy)
	h.heard()
	if d := h.store.dump(); d != before {
		t.Errorf("stored\n%swant\n%s", d, before)
	}
	h.want(h.say("bob", "r", "hello"), 200, 1)
	h.wantHeard("alice<r: [bob]: hello")
}

// After a restart everything is as it was answered, and an invitation that may
// not have arrived goes out again.
func TestRestart(t *testing.T) {
	h := newHouse(t, nil)
	h.say("alice", "R", "#create private")
	h.say("alice", "r", "#add bob")
	h.say("alice", "r", "#modify bob admin")
	h.say("alice", "r", "#invite carol")
	h.relay.set(func() { h.relay.codes["dave"] = evapi.Result{} }) // no outcome before the end
	<-h.post("bob", "r@x.org", "#invite dave")
	h.until("sent", func() bool {
		return slices.ContainsFunc(h.relay.take(), func(c got) bool { return c.to == "sip:dave@x.org" })
	})
	h.cut()

	n := openHouse(t, h.store, nil)
	n.quiet()
	n.wantHeard("dave<R: *** bob invites you to room R")
	n.want(n.say("dave", "r", "#accept"), 200, 1)
	n.want(n.say("carol", "r", "#deny"), 200, 1)
	n.heard()
	n.want(n.say("dave", "r", "#list"), 200, 1)
	n.wantHeard("dave<R: 3 members: *alice (owner), ~bob (admin), dave")
	n.want(n.say("eve", "r", "#join"), 403, -42)
}

// A copy that never gets an outcome is sent again, and the next one follows.
func TestLostOutcome(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.ResultTimeout, c.RetryMax = 50*time.Millisecond, 10*time.Millisecond })
	h.say("alice", "r", "#create")
	h.say("bob", "r", "#join")
	h.heard()
	h.relay.set(func() { h.relay.codes["bob"] = evapi.Result{} })
	<-h.post("alice", "r@x.org", "one")
	<-h.post("alice", "r@x.org", "two")
	var copies []got
	more := func() []got { copies = append(copies, h.relay.take()...); return copies }
	h.until("sent again", func() bool { return len(more()) > 1 })
	if !copies[0].same(copies[1]) || !strings.HasSuffix(copies[0].body, "one") {
		t.Errorf("sent %+v", copies)
	}
	h.relay.set(func() { delete(h.relay.codes, "bob") })
	h.until("delivered", func() bool { more(); return strings.HasSuffix(copies[len(copies)-1].body, "two") })
}

// Kamailio away: nothing is lost, order is kept, and what was lost with the
// connection goes out again with the same Call-ID.
func TestKamailioAway(t *testing.T) {
	h := newCouple(t)
	lost := evapi.Result{Code: 503, Local: true}
	h.relay.set(func() { h.relay.codes["bob"] = lost; h.relay.down = false })
	<-h.post("alice", "r@x.org", "one")
	var first got
	h.until("lost", func() bool {
		for _, c := range h.relay.take() {
			first = c
		}
		return first.callID != ""
	})
	h.relay.set(func() { h.relay.down = true })
	<-h.post("alice", "r@x.org", "two")
	h.relay.set(func() { h.relay.down = false; delete(h.relay.codes, "bob"); h.relay.copies = nil })
	h.e.Wake()
	h.quiet()
	copies := h.relay.take()
	if len(copies) < 2 || copies[0].callID != first.callID || !strings.HasSuffix(copies[0].body, "one") ||
		!strings.HasSuffix(copies[len(copies)-1].body, "two") {
		t.Errorf("lost %+v, then delivered %+v", first, copies)
	}
}

// A member that answers nothing holds up nobody, and what a room keeps for it
// is bounded.
func TestSlowMember(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.LogEntries = 10 })
	defer h.cut()
	h.say("alice", "r", "#create")
	h.say("bob", "r", "#join")
	h.say("mute", "r", "#join")
	h.heard()
	h.relay.set(func() { h.relay.codes["mute"] = evapi.Result{} })
	for i := range 50 {
		<-h.post("alice", "r@x.org", fmt.Sprint(i))
	}
	var bobs []string
	h.until("delivered to bob", func() bool {
		for _, line := range h.heard() {
			if strings.HasPrefix(line, "bob") {
				bobs = append(bobs, strings.TrimPrefix(line, "bob<r: [alice]: "))
			}
		}
		return len(bobs) == 50
	})
	for i, b := range bobs {
		if b != fmt.Sprint(i) {
			t.Fatalf("bob's message %d is %q", i, b)
		}
	}
	out, err := h.e.composeText(store.Name{User: "r", Host: "x.org"}, "", "[alice]: 50", "")
	if err != nil {
		t.Fatal(err)
	}
	one := int64(h.e.sizeOf(out))
	if n := h.e.held.waiting.Load(); n > 20*one {
		t.Errorf("%d bytes are kept for a mute member", n)
	}
	if h.want(h.say2("alice", "r", "#remove mute"), 200, 1); h.e.held.waiting.Load() > 5*one {
		t.Errorf("%d bytes are kept for a member that is gone", h.e.held.waiting.Load())
	}
}

// say2 does not wait for deliveries.
func (h *house) say2(from, room, body string) evapi.Answer {
	h.t.Helper()
	return <-h.post(from, room+"@x.org", body)
}

// Never more copies under way than configured, whatever is to be sent.
func TestOutstandingIsBounded(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.MaxOutstanding = 7 })
	h.say("alice", "r", "#create")
	for i := range 40 {
		h.say("alice", "r", fmt.Sprintf("#add u%d", i))
	}
	h.heard()
	h.relay.set(func() {
		for i := range 40 {
			h.relay.codes[fmt.Sprintf("u%d", i)] = evapi.Result{}
		}
	})
	<-h.post("alice", "r@x.org", "hello")
	seen := 0
	for seen < 40 {
		var batch []got
		h.until("sent", func() bool { batch = append(batch, h.relay.take()...); return len(batch) > 0 })
		if n := h.e.credits.inUse(); n > 7 {
			t.Fatalf("%d copies under way", n)
		}
		for _, c := range batch {
			h.e.Result(evapi.Result{CallID: c.callID, Code: 200})
		}
		seen += len(batch)
	}
	h.quiet()
}

// Requests above what may wait are refused at once.
func TestOverload(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.CommitQueue, c.MailboxSize, c.HashSize = 3, 5, 0 })
	h.store.gate = make(chan struct{})
	answers := make([]chan evapi.Answer, 100)
	for i := range answers {
		answers[i] = h.post("alice", fmt.Sprintf("r%d@x.org", i), "#create")
	}
	h.until("refused", func() bool { return h.e.requests.Load() < 20 })
	close(h.store.gate)
	codes := map[int]int{}
	for _, ch := range answers {
		codes[(<-ch).Code]++
	}
	if codes[200] == 0 || codes[503] < 80 || len(codes) != 2 {
		t.Errorf("answers by code: %v", codes)
	}
	h.quiet()
	if n := len(h.store.rooms); n != codes[200] {
		t.Errorf("%d rooms are stored, %d were answered 200", n, codes[200])
	}
}

func TestStopRefusesAndDrains(t *testing.T) {
	h := newCouple(t)
	h.relay.set(func() { h.relay.codes["bob"] = evapi.Result{} })
	h.say2("alice", "r", "last words")
	var copies []got
	h.until("sent", func() bool { copies = append(copies, h.relay.take()...); return len(copies) > 0 })
	stopped := make(chan struct{})
	go func() { h.e.Stop(t.Context()); close(stopped) }()
	h.until("stopping", h.e.stopping.Load)
	h.want(h.say2("alice", "r", "more"), 503, -209)
	select {
	case <-stopped:
		t.Error("stopped with a copy under way")
	default:
	}
	h.e.Result(evapi.Result{CallID: copies[0].callID, Code: 200})
	<-stopped
}

// After how far everybody has come was written for the last time nobody is sent
// anything more that is noted there: it would come again after the next start.
func TestStopSendsNothingUnnoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHouse(t, newMemStore(), nil)
		say := func(from, body string) {
			answer := h.post(from, "r@x.org", body)
			synctest.Wait()
			if a := <-answer; a.Code != 200 {
				t.Errorf("%s: %d", body, a.Code)
			}
		}
		say("alice", "#create")
		say("bob", "#join")
		h.answers("bob", result(404))
		say("alice", "kept")
		h.relay.set(func() { h.relay.down = true })
		say("alice", "#invite carol")
		h.relay.set(func() { h.relay.copies, h.relay.codes["bob"] = nil, result(200) })
		gate := make(chan struct{})
		h.store.mu.Lock()
		h.store.gate = gate
		h.store.mu.Unlock()
		out, cancel := context.WithCancel(t.Context())
		cancel() // no more time
		stopped := make(chan struct{})
		go func() { h.e.Stop(out); close(stopped) }()
		synctest.Wait()
		select {
		case <-stopped:
			t.Fatal("nothing was written in the end")
		default:
		}
		h.relay.set(func() { h.relay.down = false })
		for _, s := range h.e.shards {
			s.inbox.post(func() { s.delivery.flush(nil) }) // as its timer does
		}
		h.e.Wake()
		h.registers("bob")
		close(gate)
		<-stopped
		for _, c := range h.relay.take() {
			if c.to != "sip:alice@x.org" { // who hears of what alice did: that is noted nowhere
				t.Errorf("%s was sent %q", c.to, c.body)
			}
		}
	})
}

// What has been on its way so long that Kamailio answered 503 is not carried
// out.
func TestLateRequest(t *testing.T) {
	h := newCouple(t)
	m := h.request("alice", "r@x.org", "late")
	m.Age = lateAfter + time.Second
	h.want(<-h.send(m), 503, -209)
	h.quiet()
	h.wantHeard()
	h.want(h.say("alice", "r", "in time"), 200, 1)
	h.wantHeard("bob<r: [alice]: in time")
}

// A member whose leaving failed, as the database is away, does not get again what it has
// got, although that is not written yet.
func TestLeavingInVain(t *testing.T) {
	for _, command := range []string{"#destroy", "#remove bob"} {
		t.Run(command, func(t *testing.T) {
			h := pair(t, func(c *Config) { c.CursorFlush = time.Hour })
			h.want(h.say("alice", "r", "one"), 200, 1)
			h.wantHeard("bob<r: [alice]: one")
			h.store.set(func([]store.Change) (error, bool) { return store.ErrUnavailable, false })
			if a := h.say2("alice", "r", command); a.Code != 503 {
				t.Errorf("answer %d", a.Code)
			}
			h.store.set(nil)
			h.until("healthy", h.e.Healthy)
			h.quiet()
			h.heard()
			h.want(h.say("alice", "r", "two"), 200, 1)
			h.wantHeard("bob<r: [alice]: two")
		})
	}
}

// The outcome of a copy may come after its room was loaded again because of a
// commit that failed.
func TestOutcomeAfterAFailedCommit(t *testing.T) {
	h := pair(t, nil)
	h.answers("bob", evapi.Result{})
	h.want(h.say2("alice", "r", "one"), 200, 1)
	var copies []got
	h.until("sent", func() bool { more(h, &copies); return len(copies) == 1 })
	h.store.set(func([]store.Change) (error, bool) { return errRefused, false })
	h.want(h.say2("alice", "r", "two"), 500, -209)
	h.store.set(nil)
	h.until("loaded again", func() bool { return h.e.committer.idle() && h.e.Healthy() })
	h.answers("bob", result(200))
	h.e.Result(evapi.Result{CallID: copies[0].callID, Code: 200})
	h.want(h.say("alice", "r", "three"), 200, 1)
	more(h, &copies)
	h.wantBodies(copies, "bob", []string{"one", "three"})
}

// The same for a notice that is under way to members of a room which was to be
// destroyed.
func TestOutcomeAfterLeavingInVain(t *testing.T) {
	h := pair(t, nil)
	h.answers("bob", evapi.Result{})
	h.want(h.say2("carol", "r", "#join"), 200, 1)
	var copies []got
	h.until("sent", func() bool {
		more(h, &copies)
		return slices.ContainsFunc(copies, func(c got) bool { return c.to == "sip:bob@x.org" })
	})
	h.store.set(func([]store.Change) (error, bool) { return errRefused, false })
	h.want(h.say2("alice", "r", "#destroy"), 500, -119)
	h.store.set(nil)
	h.until("loaded again", func() bool { return h.e.committer.idle() && h.e.Healthy() })
	h.answers("bob", result(200))
	for _, c := range copies {
		h.e.Result(evapi.Result{CallID: c.callID, Code: 200})
	}
	copies = nil
	h.want(h.say("alice", "r", "one"), 200, 1)
	more(h, &copies)
	h.wantBodies(copies, "bob", []string{"one"})
}

// Finish waits until everybody who has asked something is answered.
func TestFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHouse(t, newMemStore(), nil)
		defer h.close()
		gate := make(chan struct{})
		h.store.mu.Lock()
		h.store.gate = gate
		h.store.mu.Unlock()
		answer := h.post("alice", "r@x.org", "#create")
		finished := make(chan struct{})
		go func() { h.e.Finish(t.Context()); close(finished) }()
		<-time.After(time.Second)
		select {
		case <-finished:
			t.Error("it did not wait for a commit")
		case a := <-answer:
			t.Errorf("answered %d", a.Code)
		default:
		}
		close(gate)
		<-finished
		if a := <-answer; a.Code != 200 {
			t.Errorf("answered %d", a.Code)
		}
	})
}

// An end without time sends no more messages, and waits a moment for the outcomes of those that were sent.
func TestStopWaitsForLastOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHouse(t, newMemStore(), nil)
		for _, user := range []string{"alice", "bob"} {
			h.post(user, "r@x.org", "#join")
			<-time.After(time.Second)
		}
		h.relay.take()
		h.relay.set(func() { h.relay.rtt = outcomeTime / 2 })
		h.post("alice", "r@x.org", "sent")
		h.post("alice", "r@x.org", "stays")
		synctest.Wait()
		out, cancel := context.WithCancel(t.Context())
		cancel()
		h.e.Stop(out)
		h.wantHeard("bob<r: [alice]: sent")
		if owed := h.store.owed(); owed != "r@x.org: bob has 1 of 2 (own cursor: true)\n" {
			t.Errorf("after the end: %s", owed)
		}
	})
}
