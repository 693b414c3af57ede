package kamailiocfg_test

import (
	"fmt"
	"testing"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// TestOlderImcd: an imcd that knows of no others gets everything when it says hello, and nothing more once an engine
// with a name owns a shard.
func TestOlderImcd(t *testing.T) {
	k, alice := fleet(t, "")
	answers := func(want string) { t.Helper(); reasonIs(t, alice, want) }
	old := startStandIn(t, k)
	answers("Accepted")
	named := engineOf(t, k, "7")
	named.done(t)
	answers("Accepted")
	old.falls(true)
	got := say(t, alice, roomIn(4), "who answers?")
	late := old.wait(t, "imc.message", 3)[2]
	named.owns(t, 1, 0, fleetShards-1)
	if s := expect(t, got, 202); s.reason != "7" {
		t.Errorf("answer %s", s)
	}
	send(t, old.peer, reply(late, "403", "-1", "0", "too late"))
	answers("7")
	startStandIn(t, k)
	answers("Accepted")
	nothingIsLeft(t, k)
}

// TestRestartWithoutRefusal: a request that comes between two imcd that know of no others waits for the second.
func TestRestartWithoutRefusal(t *testing.T) {
	k, alice := fleet(t, "")
	old := startStandIn(t, k)
	old.falls(true)
	first := say(t, alice, roomIn(3), "hello")
	old.wait(t, "imc.message", 1)
	old.peer.Close()
	second := say(t, alice, roomIn(4), "hello")
	kit.Eventually(t, "both wait", func() bool { return withoutAnswer(t, k) == 2 })
	startStandIn(t, k)
	expect(t, first, 202)
	expect(t, second, 202)
	nothingIsLeft(t, k)
}

// TestPlaces: seven engines with names have a place; the next hears that there is none.
func TestPlaces(t *testing.T) {
	k, _ := fleet(t, "")
	places := make(map[string]bool)
	var engines []*standIn
	for i := range 7 {
		s := startEngine(t, k, fmt.Sprint("e", i))
		places[s.welcome.Params["place"]] = true
		engines = append(engines, s)
	}
	if len(places) != 7 || places["0"] {
		t.Errorf("places %v", places)
	}
	p := kit.Peer(t, k)
	send(t, p, "hello "+k.Secret()+" e8")
	next(t, p, "imc.full")
	engines[3].peer.Close()
	engines[0].wait(t, "imc.gone", 1)
	if s := startEngine(t, k, "e9"); s.welcome.Params["place"] != engines[3].welcome.Params["place"] {
		t.Errorf("welcome %s", s.welcome.Raw)
	}
}

// TestOutcomesOfSeveral: each engine hears of its own copies only.
func TestOutcomesOfSeveral(t *testing.T) {
	k, _ := fleet(t, "")
	bob := kit.Registered(t, k, evapitest.UAConfig{User: "bob"})
	var engines []*standIn
	for _, name := range []string{"", "7", "8"} {
		engines = append(engines, startEngine(t, k, name))
	}
	for _, s := range engines {
		name := "of-" + s.name
		s.copyTo(t, bob.AOR(), name, "by rpc")
		hop := unb64(t, s.welcome.Params["next_hop"])
		send(t, s.peer, call("imc.batch", "9", "batch", b64(hop), b64("<sip:chat-1@a.example>"),
			b64("Content-Type: text/plain\r\n"), b64("by batch"), bob.AOR()+" "+name+"-b .<."))
	}
	for _, s := range engines {
		name := "of-" + s.name
		for _, ev := range s.wait(t, "imc.outcome", 3) {
			if id := unb64(t, ev.Params["id"]); ev.Params["batch"] != "9" && (ev.Params["code"] != "200" || id != name &&
				id != name+"-b") {
				t.Errorf("engine %q: %s", s.name, ev.Raw)
			}
		}
	}
	if _, err := bob.WaitN(kit.Context(t), 6); err != nil {
		t.Error(err)
	}
}

// TestRegisteredOfSeveral: one engine that owns shards hears of a registration, and of a receipt.
func TestRegisteredOfSeveral(t *testing.T) {
	k, alice := fleet(t, "")
	spare, owner := engineOf(t, k, "7"), engineOf(t, k, "8")
	owner.owns(t, 1, 0, fleetShards-1)
	for i := range 10 {
		kit.Registered(t, k, evapitest.UAConfig{User: fmt.Sprint("user", i)})
	}
	owner.wait(t, "imc.registered", 10)
	expect(t, do(t, alice, evapitest.Request{Method: "MESSAGE", URI: roomIn(3), ContentType: "message/imdn+xml",
		Body: []byte("<imdn/>")}), 200)
	owner.wait(t, "imc.receipt", 1)
	spare.done(t)
	for _, method := range []string{"imc.registered", "imc.receipt"} {
		if all, _ := spare.seen(method); len(all) != 0 {
			t.Errorf("the spare got %s", all[0].Raw)
		}
	}
	operator, _ := hello(t, k, k.OperatorSecret())
	send(t, operator, "{}")
	owner.wait(t, "imc.call", 1)
}
