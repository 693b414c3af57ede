package kamailiocfg_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"imcd/engine/store"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// fleetShards is the number of shards in these tests.
const fleetShards = 64

// fleet is a Kamailio with engines whose shards the test divides.
func fleet(t *testing.T, imcLocal string) (*evapitest.Kamailio, *evapitest.UA) {
	t.Helper()
	k := kit.Kamailio(t, evapitest.Options{IMCLocal: imcLocal, Local: "loadmodule \"ctl.so\"\n"})
	return k, kit.UA(t, evapitest.UAConfig{User: "alice", Proxy: k.SIPAddr(), Domain: "chat.test"})
}

// engineOf is a stand-in that has said the number of shards.
func engineOf(t *testing.T, k *evapitest.Kamailio, name string) *standIn {
	t.Helper()
	s := startEngine(t, k, name)
	send(t, s.peer, call("imc.fleet", strconv.Itoa(fleetShards)))
	return s
}

// owns lets an engine own shards from first to last.
func (s *standIn) owns(t *testing.T, epoch, first, last int) {
	t.Helper()
	var list strings.Builder
	for i := first; i <= last; i++ {
		fmt.Fprintf(&list, "%d %d ", i, epoch)
	}
	send(t, s.peer, call("imc.own", list.String()+"."))
	s.done(t)
}

// done waits until Kamailio has carried out the frames so far.
func (s *standIn) done(t *testing.T) {
	t.Helper()
	pongs, _ := s.seen("imc.pong")
	s.wait(t, "imc.pong", len(pongs)+2) // one may be on its way already
}

// roomIn is a room of a shard.
func roomIn(shard int) string {
	for i := 0; ; i++ {
		name := fmt.Sprintf("chat-%d@chat.test", i)
		if int(store.Hash(name))%fleetShards == shard {
			return "sip:" + name
		}
	}
}

// withoutAnswer is the number of requests that Kamailio takes for unanswered.
func withoutAnswer(t *testing.T, k *evapitest.Kamailio) int {
	t.Helper()
	socket := filepath.Join(k.Dir(), "kamailio_ctl")
	cmd := exec.CommandContext(kit.Context(t), "kamcmd", "-s", socket, "htable.dump", "imcp")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return strings.Count(string(out), "name:")
}

// nothingIsLeft checks that no request is unanswered.
func nothingIsLeft(t *testing.T, k *evapitest.Kamailio) {
	t.Helper()
	if n := withoutAnswer(t, k); n != 0 {
		t.Errorf("%d requests are without an answer", n)
	}
}

// TestParked: a request for a room that nobody owns waits, and goes to the next owner as it came.
func TestParked(t *testing.T) {
	k, alice := fleet(t, "")
	e := engineOf(t, k, "7")
	body := "\x00\xff\r\n\"}{\\ $var(x) #ä"
	got := say(t, alice, roomIn(5), body)
	kit.Eventually(t, "the engine hears of the parked request", func() bool {
		pongs, _ := e.seen("imc.pong")
		return len(pongs) > 0 && pongs[len(pongs)-1].Params["parked"] == "1"
	})
	if all, _ := e.seen("imc.message"); len(all) != 0 {
		t.Fatalf("an engine without shards got %s", all[0].Raw)
	}
	e.owns(t, 3, 0, fleetShards-1)
	if s := expect(t, got, 202); s.reason != "7" {
		t.Errorf("answer %s", s)
	}
	ev := e.wait(t, "imc.message", 1)[0]
	if msg := unb64(t, ev.Params["msg"]); !strings.HasSuffix(msg, "\r\n\r\n"+body) {
		t.Errorf("message %q", msg)
	}
	if slot, err := strconv.Atoi(ev.Params["slot"]); err != nil || slot%fleetShards != 5 || ev.Params["tries"] != "2" {
		t.Errorf("event %s", ev.Raw)
	}
	if age, err := strconv.Atoi(ev.Params["age"]); err != nil || age < 1 || age > 4000 {
		t.Errorf("age %q ms", ev.Params["age"])
	}
	expect(t, say(t, alice, roomIn(6), "at once"), 202)
	if ev := e.wait(t, "imc.message", 2)[1]; ev.Params["tries"] != "1" || ev.Params["age"] != "0" {
		t.Errorf("event %s", ev.Raw)
	}
	nothingIsLeft(t, k)
}

// TestNobodyOwns: a parked request is answered after 5 s all the same. Once no engine has been heard of for as
// long, requests are not parked any more.
func TestNobodyOwns(t *testing.T) {
	k, alice := fleet(t, "")
	e := engineOf(t, k, "7")
	e.done(t)
	began := time.Now()
	if s := expect(t, say(t, alice, roomIn(5), "hello"), 503); s.reason != "Chat service timeout" || s.after != "5" {
		t.Errorf("answer %s", s)
	}
	if took := time.Since(began); took < 4*time.Second {
		t.Errorf("answered after %v", took)
	}
	nothingIsLeft(t, k)
	e.peer.Close()
	untilUnavailable(t, alice)
}

// TestMaxParked: more than that do not wait.
func TestMaxParked(t *testing.T) {
	k, alice := fleet(t, "#!define IMC_MAX_PARKED 10\n")
	e := engineOf(t, k, "7")
	e.done(t)
	// One by one, and without a ping at the end: the number is exact only then.
	var waiting []<-chan said
	for i := range 10 {
		waiting = append(waiting, say(t, alice, roomIn(5), "hello"))
		kit.Eventually(t, "it is counted", func() bool {
			pongs, _ := e.seen("imc.pong")
			return pongs[len(pongs)-1].Params["parked"] == strconv.Itoa(i+1)
		})
	}
	if pong := e.rests(t); pong.Params["parked"] != "10" {
		t.Errorf("pong %s", pong.Raw)
	}
	if s := expect(t, say(t, alice, roomIn(5), "one more"), 503); s.reason != "Chat service unavailable" {
		t.Errorf("answer %s", s)
	}
	send(t, e.peer, call("imc.own", "5 1 ."))
	for _, w := range waiting {
		expect(t, w, 202)
	}
	nothingIsLeft(t, k)
}

// TestManyParked: all of them reach the owner once.
func TestManyParked(t *testing.T) {
	const many = 1000
	k, alice := fleet(t, "")
	e := engineOf(t, k, "7")
	e.done(t)
	var waiting []<-chan said
	for i := range many {
		waiting = append(waiting, say(t, alice, roomIn(i%fleetShards), fmt.Sprint("message ", i)))
	}
	kit.Eventually(t, "all are parked", func() bool { return withoutAnswer(t, k) == many })
	began := time.Now()
	e.owns(t, 1, 0, fleetShards-1)
	e.wait(t, "imc.message", many)
	t.Logf("%d parked requests took %v", many, time.Since(began))
	for _, w := range waiting {
		expect(t, w, 202)
	}
	if all, _ := e.seen("imc.message"); len(all) != many {
		t.Errorf("%d messages of %d", len(all), many)
	}
	nothingIsLeft(t, k)
}

// TestEngineKilled: what a killed engine had goes to the next owner; the others hear of its end.
func TestEngineKilled(t *testing.T) {
	k, alice := fleet(t, "")
	first, second := engineOf(t, k, "7"), engineOf(t, k, "8")
	first.falls(true)
	first.owns(t, 1, 0, fleetShards-1)
	var waiting []<-chan said
	for i := range 200 {
		waiting = append(waiting, say(t, alice, roomIn(i%fleetShards), "hello"))
	}
	first.wait(t, "imc.message", 200)
	first.peer.Close()
	if ev := second.wait(t, "imc.gone", 1)[0]; ev.Params["engine"] != "7" {
		t.Errorf("gone: %s", ev.Raw)
	}
	waiting = append(waiting, say(t, alice, roomIn(1), "while nobody owns it"))
	second.owns(t, 2, 0, fleetShards-1)
	for _, w := range waiting {
		if s := expect(t, w, 202); s.reason != "8" {
			t.Errorf("answer %s", s)
		}
	}
	nothingIsLeft(t, k)
}

// TestDeposed: the answers, copies and shards of an engine that another one deposes do not count any more, although it
// is still connected.
func TestDeposed(t *testing.T) {
	k, alice := fleet(t, "")
	first, second := engineOf(t, k, "7"), engineOf(t, k, "8")
	first.falls(true)
	first.owns(t, 1, 0, fleetShards-1)
	got := say(t, alice, roomIn(3), "hello")
	late := first.wait(t, "imc.message", 1)[0]
	second.falls(true)
	send(t, second.peer, call("imc.depose", "7"))
	second.owns(t, 2, 0, fleetShards-1)
	message := second.wait(t, "imc.message", 1)[0]
	if message.Params["tindex"] != late.Params["tindex"] || message.Params["tlabel"] != late.Params["tlabel"] {
		t.Errorf("another transaction: %s and %s", late.Raw, message.Raw)
	}
	send(t, first.peer, reply(late, "403", "-1", "0", "too late"))
	send(t, first.peer, call("imc.own", "3 9 ."))
	send(t, first.peer, copyFrame(first.header(t), unb64(t, first.welcome.Params["next_hop"]), "sip:alice@x", "id", "x"))
	second.done(t)
	if n := withoutAnswer(t, k); n != 1 {
		t.Errorf("%d requests without an answer, not 1", n)
	}
	send(t, second.peer, second.accepts(message))
	if s := expect(t, got, 202); s.reason != "8" {
		t.Errorf("answer %s", s)
	}
	if pongs, _ := second.seen("imc.gone"); len(pongs) != 0 {
		t.Errorf("%s", pongs[0].Raw)
	}
	nothingIsLeft(t, k)
}

// TestMove: an engine hands back a request that is about a room of another one, or of which it can say nothing now.
func TestMove(t *testing.T) {
	k, alice := fleet(t, "")
	first, second := engineOf(t, k, "7"), engineOf(t, k, "8")
	first.falls(true)
	first.owns(t, 1, 0, 31)
	second.owns(t, 1, 32, 63)
	move := func(ev evapitest.Event, slot string) {
		send(t, first.peer, call("imc.move", ev.Params["tindex"], ev.Params["tlabel"], slot))
	}
	got := say(t, alice, roomIn(3), "#join chat-b")
	move(first.wait(t, "imc.message", 1)[0], "1000") // 1000 is in shard 40
	if s := expect(t, got, 202); s.reason != "8" {
		t.Errorf("answer %s", s)
	}
	if ev := second.wait(t, "imc.message", 1)[0]; ev.Params["slot"] != "1000" || ev.Params["tries"] != "2" {
		t.Errorf("event %s", ev.Raw)
	}
	// An engine that does not know whether it owns anything.
	got = say(t, alice, roomIn(4), "hello")
	ev := first.wait(t, "imc.message", 2)[1]
	send(t, first.peer, call("imc.park", "3 4 5 ."))
	move(ev, "")
	first.done(t)
	if n := withoutAnswer(t, k); n != 1 {
		t.Errorf("%d requests without an answer, not 1", n)
	}
	send(t, first.peer, first.accepts(ev)) // it has no right to that now
	first.done(t)
	second.owns(t, 2, 4, 4)
	if s := expect(t, got, 202); s.reason != "8" {
		t.Errorf("answer %s", s)
	}
	nothingIsLeft(t, k)
}

// TestMoveInCircles: a request that no engine wants ends all the same.
func TestMoveInCircles(t *testing.T) {
	k, alice := fleet(t, "")
	e := engineOf(t, k, "7")
	e.falls(true)
	e.owns(t, 1, 0, fleetShards-1)
	got := say(t, alice, roomIn(3), "hello")
	for i := range 8 {
		ev := e.wait(t, "imc.message", i+1)[i]
		if ev.Params["tries"] != strconv.Itoa(i+1) {
			t.Errorf("event %s", ev.Raw)
		}
		send(t, e.peer, call("imc.move", ev.Params["tindex"], ev.Params["tlabel"], "5"))
	}
	if s := expect(t, got, 503); s.reason != "Chat service timeout" {
		t.Errorf("answer %s", s)
	}
	if all, _ := e.seen("imc.message"); len(all) != 8 {
		t.Errorf("it was given to the engine %d times", len(all))
	}
	nothingIsLeft(t, k)
}

// TestPark: an engine that gives shards away gets no more requests for them, and still answers those it has.
func TestPark(t *testing.T) {
	k, alice := fleet(t, "")
	first, second := engineOf(t, k, "7"), engineOf(t, k, "8")
	first.falls(true)
	first.owns(t, 1, 0, fleetShards-1)
	before := say(t, alice, roomIn(3), "before")
	ev := first.wait(t, "imc.message", 1)[0]
	send(t, first.peer, call("imc.park", "3 ."))
	first.done(t)
	after := say(t, alice, roomIn(3), "after")
	kit.Eventually(t, "the second is parked", func() bool { return withoutAnswer(t, k) == 2 })
	send(t, first.peer, first.accepts(ev))
	if s := expect(t, before, 202); s.reason != "7" {
		t.Errorf("answer %s", s)
	}
	send(t, second.peer, call("imc.park", "4 .")) // it is not its own
	second.owns(t, 2, 3, 3)
	if s := expect(t, after, 202); s.reason != "8" {
		t.Errorf("answer %s", s)
	}
	// The first owns the rest, as before, and may have its shard again later.
	first.falls(false)
	for shard, want := range map[int]string{3: "8", 4: "7"} {
		if s := expect(t, say(t, alice, roomIn(shard), "hello"), 202); s.reason != want {
			t.Errorf("shard %d: answer %s", shard, s)
		}
	}
	send(t, second.peer, call("imc.park", "3 ."))
	second.done(t)
	first.owns(t, 3, 3, 3)
	if s := expect(t, say(t, alice, roomIn(3), "hello"), 202); s.reason != "7" {
		t.Errorf("answer %s", s)
	}
	second.done(t) // it is no engine that was taken for dead
	nothingIsLeft(t, k)
}

// reasonIs says something in room 3 and compares the reason of the answer, in which an engine's name stands.
func reasonIs(t *testing.T, alice *evapitest.UA, want string) {
	t.Helper()
	if s := expect(t, say(t, alice, roomIn(3), "hello"), 202); s.reason != want {
		t.Errorf("answer %s, want %s", s, want)
	}
}

// TestEpochs: an older ownership does not count.
func TestEpochs(t *testing.T) {
	k, alice := fleet(t, "")
	first, second := engineOf(t, k, "7"), engineOf(t, k, "8")
	answers := func(want string) { t.Helper(); reasonIs(t, alice, want) }
	first.owns(t, 5, 0, 10)
	second.owns(t, 4, 3, 3)
	answers("7")
	second.owns(t, 5, 3, 3)
	answers("7")
	first.owns(t, 5, 3, 3)
	answers("7")
	// The others have taken it for dead: it did not park its shard.
	third := engineOf(t, k, "9")
	third.done(t)
	got := say(t, alice, roomIn(4), "of another shard of the dead one")
	expect(t, got, 202)
	second.owns(t, 6, 3, 3)
	answers("8")
	send(t, first.peer, call("imc.own", "3 9 ."))
	second.done(t)
	answers("8")
	got = say(t, alice, roomIn(4), "this one waits")
	kit.Eventually(t, "it is parked", func() bool { return withoutAnswer(t, k) == 1 })
	second.owns(t, 6, 4, 4)
	if s := expect(t, got, 202); s.reason != "8" {
		t.Errorf("answer %s", s)
	}
	// Nobody owns the shard, and the database has begun again.
	second.peer.Close()
	third.wait(t, "imc.gone", 1)
	third.owns(t, 1, 3, 3)
	answers("9")
	nothingIsLeft(t, k)
}

// TestSameEngine: an engine that connects again takes its own place, and gets again what it has not answered.
func TestSameEngine(t *testing.T) {
	k, alice := fleet(t, "")
	first, other := engineOf(t, k, "7"), engineOf(t, k, "8")
	first.falls(true)
	first.owns(t, 1, 0, fleetShards-1)
	got := say(t, alice, roomIn(3), "hello")
	old := first.wait(t, "imc.message", 1)[0]
	again := engineOf(t, k, "7")
	if again.welcome.Params["place"] != first.welcome.Params["place"] {
		t.Errorf("welcomes %s and %s", first.welcome.Raw, again.welcome.Raw)
	}
	again.falls(true)
	again.owns(t, 1, 0, fleetShards-1)
	ev := again.wait(t, "imc.message", 1)[0]
	send(t, first.peer, reply(old, "403", "-1", "0", "over the old connection"))
	first.peer.Close()
	send(t, again.peer, again.accepts(ev))
	expect(t, got, 202)
	if gone, _ := other.seen("imc.gone"); len(gone) != 0 {
		t.Errorf("%s", gone[0].Raw)
	}
	nothingIsLeft(t, k)
}
