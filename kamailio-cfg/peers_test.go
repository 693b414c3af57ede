package kamailiocfg_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// peers are two Kamailios that know each other, and a user agent at each.
type peers struct {
	k     [2]*evapitest.Kamailio
	uri   [2]string
	alice [2]*evapitest.UA
}

// hereOnly matches the address of all peers in these tests.
const hereOnly = "^127[.]0[.]0[.]1$"

func startPeers(t *testing.T, from, secret string, more ...string) *peers {
	t.Helper()
	p := &peers{}
	for i, opts := range peerOptions(t, from, secret, more...) {
		opts.Local += "loadmodule \"ctl.so\"\n"
		p.uri[i] = fmt.Sprint("sip:127.0.0.1:", opts.SIPPort)
		p.k[i] = kit.Kamailio(t, opts)
		p.alice[i] = kit.UA(t, evapitest.UAConfig{User: "alice", Proxy: p.k[i].SIPAddr(), Domain: "chat.test"})
	}
	return p
}

// peerOptions are those of Kamailios that know each other.
func peerOptions(t *testing.T, from, secret string, more ...string) (opts [2]evapitest.Options) {
	t.Helper()
	ports, err := evapitest.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	uris := fmt.Sprintf("sip:127.0.0.1:%d sip:127.0.0.1:%d", ports[0], ports[1])
	for i, port := range ports {
		opts[i] = evapitest.Options{SIPPort: port, IMCLocal: fmt.Sprintf(
			"#!define IMC_PEERS %q\n#!define IMC_PEER_URIS %q\n#!define IMC_PEER_SECRET %q\n", from, uris, secret) +
			strings.Join(more, "")}
	}
	return opts
}

// at lets an engine say that a peer's engines own shards from first to last.
func (s *standIn) at(t *testing.T, uri string, epoch, first, last int) {
	t.Helper()
	var list strings.Builder
	for i := first; i <= last; i++ {
		fmt.Fprintf(&list, "%d %d ", i, epoch)
	}
	send(t, s.peer, call("imc.at", uri, list.String()+"."))
	s.done(t)
}

// start lets engine 1 at the first Kamailio own shards 0 to 31, and engine 2 at the second the others.
func (p *peers) start(t *testing.T) (e [2]*standIn) {
	t.Helper()
	for i := range e {
		e[i] = engineOf(t, p.k[i], fmt.Sprint(i+1))
		if got := unb64(t, e[i].welcome.Params["peer"]); got != p.uri[i] {
			t.Errorf("the Kamailio at %s says that it is at %q", p.uri[i], got)
		}
	}
	for i := range e {
		e[i].owns(t, 3, 32*i, 32*i+31)
		e[1-i].at(t, p.uri[i], 3, 32*i, 32*i+31)
	}
	return e
}

// nothingIsLeft checks that no request is unanswered at both Kamailios.
func (p *peers) nothingIsLeft(t *testing.T) {
	t.Helper()
	for _, k := range p.k {
		nothingIsLeft(t, k)
	}
}

// TestPeers: a request for a room at a peer gets the answer of the engine there, which knows where it came from.
func TestPeers(t *testing.T) {
	p := startPeers(t, hereOnly, "between-us")
	e := p.start(t)
	body := "\x00\xff\r\n\"}{\\ $var(x) #ä"
	for i := range e {
		for at := range p.alice {
			got := do(t, p.alice[at], evapitest.Request{Method: "MESSAGE", URI: roomIn(5 + 32*i), Body: []byte(body),
				Headers: []string{"X-IMC-Peer: guessed 1 1 1 x"}})
			if s := expect(t, got, 202); s.reason != fmt.Sprint(i+1) {
				t.Errorf("answer %s", s)
			}
		}
		for _, ev := range e[i].wait(t, "imc.message", 2) {
			msg := unb64(t, ev.Params["msg"])
			if !strings.HasSuffix(msg, "\r\n\r\n"+body) || strings.HasSuffix(p.uri[1-i], ":"+ev.Params["src_port"]) ||
				ev.Params["src_ip"] != "127.0.0.1" ||
				ev.Params["room"] != "1" || ev.Params["slot"] == "1" {
				t.Errorf("event %s: %q", ev.Raw, msg)
			}
		}
	}
	p.nothingIsLeft(t)
}

// TestPeerMoves: an engine hands a request back that is about a room at a peer; it does not go on for ever.
func TestPeerMoves(t *testing.T) {
	p := startPeers(t, hereOnly, "between-us")
	e := p.start(t)
	e[0].falls(true)
	got := say(t, p.alice[1], roomIn(5), "hello")
	ev := e[0].wait(t, "imc.message", 1)[0]
	send(t, e[0].peer, call("imc.move", ev.Params["tindex"], ev.Params["tlabel"], "40"))
	if s := expect(t, got, 202); s.reason != "2" {
		t.Errorf("answer %s", s)
	}
	// Both believe that the other one owns the room.
	e[0].at(t, p.uri[1], 4, 5, 5)
	e[1].at(t, p.uri[0], 4, 5, 5)
	got = say(t, p.alice[1], roomIn(5), "hello")
	kit.Eventually(t, "it is parked", func() bool { return withoutAnswer(t, p.k[0])+withoutAnswer(t, p.k[1]) == 1 })
	e[1].owns(t, 5, 5, 5)
	e[0].at(t, p.uri[1], 5, 5, 5)
	if s := expect(t, got, 202); s.reason != "2" {
		t.Errorf("answer %s", s)
	}
}

// TestPeerDies: the next owner of the room answers a request that a peer had.
func TestPeerDies(t *testing.T) {
	p := startPeers(t, hereOnly, "between-us")
	e := p.start(t)
	e[0].falls(true)
	got := say(t, p.alice[1], roomIn(5), "hello")
	e[0].wait(t, "imc.message", 1)
	if err := p.k[0].Kill(); err != nil {
		t.Fatal(err)
	}
	e[1].owns(t, 4, 0, 31)
	if s := expect(t, got, 202); s.reason != "2" {
		t.Errorf("answer %s", s)
	}
	nothingIsLeft(t, p.k[1])
	expect(t, say(t, p.alice[1], roomIn(6), "hello"), 202)
}

// TestNobodyHere: without an imcd, or with one that stands still, requests go to a peer, those that wait, too.
func TestNobodyHere(t *testing.T) {
	p := startPeers(t, hereOnly, "between-us")
	e := p.start(t)
	e[1].falls(true)
	first := say(t, p.alice[1], roomIn(40), "hello")
	e[1].wait(t, "imc.message", 1)
	e[1].peer.Close()
	e[0].owns(t, 4, 0, fleetShards-1)
	second, third := say(t, p.alice[1], roomIn(41), "hello"), say(t, p.alice[1], roomIn(5), "hi")
	for _, got := range []<-chan said{first, second, third} {
		if s := expect(t, got, 202); s.reason != "1" {
			t.Errorf("answer %s", s)
		}
	}
	p.nothingIsLeft(t)
}

// TestPeerSecret: nobody else is believed.
func TestPeerSecret(t *testing.T) {
	for name, settings := range map[string][2]string{
		"other secret":  {hereOnly, "another"},
		"no secret":     {hereOnly, ""},
		"other address": {"^192[.]0[.]2[.]", "between-us"},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPeers(t, settings[0], settings[1])
			e := p.start(t)
			for _, secret := range []string{"between-us ", " ", ""} {
				got := do(t, p.alice[0], evapitest.Request{Method: "MESSAGE", URI: roomIn(5), Body: []byte("hello"),
					Headers: []string{"X-IMC-Peer: " + secret + "1 1 9 " + b64(`"auth_user":"Ym9i"`)}})
				expect(t, got, 202)
			}
			for _, ev := range e[0].wait(t, "imc.message", 3) {
				if ev.Params["auth_user"] != "" || ev.Params["age"] != "0" {
					t.Errorf("it believes in %s", ev.Raw)
				}
			}
		})
	}
}

// TestSlowPeer: an engine that needs longer than the peer waits answers one of the tries.
func TestSlowPeer(t *testing.T) {
	p := startPeers(t, hereOnly, "between-us")
	e := p.start(t)
	e[0].falls(true)
	began := time.Now()
	got := say(t, p.alice[1], roomIn(5), "hello")
	evs := e[0].wait(t, "imc.message", 2)
	if evs[0].Params["age"] != "0" || evs[1].Params["age"] < "1000" {
		t.Errorf("events %s %s", evs[0].Raw, evs[1].Raw)
	}
	send(t, e[0].peer, e[0].accepts(evs[1]))
	expect(t, got, 202)
	t.Log(time.Since(began))
}
