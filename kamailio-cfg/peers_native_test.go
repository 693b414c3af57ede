package kamailiocfg_test

import (
	"fmt"
	"strings"
	"testing"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// TestPeersNative: what Linphone asks of a group reaches the engine that has the room, at a peer too, once. The client
// stays with the Kamailio to which it is connected, and its ACK reaches the one that has answered.
func TestPeersNative(t *testing.T) {
	p := startPeers(t, hereOnly, "between-us", "#!define IMC_NATIVE\n")
	e := p.start(t)
	for i := range e {
		for at, k := range p.k {
			log := &wire{}
			alice := kit.UA(t, evapitest.UAConfig{User: "alice", Proxy: k.SIPAddr(), Domain: "chat.test", Log: log})
			way := "<sip:" + k.SIPAddr() + ";lr" // and a tag, if Kamailio's module rr has written it
			for _, r := range []evapitest.Request{
				{Method: "INVITE", Headers: []string{"Subject: x"}}, {Method: "SUBSCRIBE"}, {Method: "REFER"},
				{Method: "INVITE", ToTag: "x", Headers: []string{"Route: " + way + ">", "Subject: x"}},
				{Method: "SUBSCRIBE", ToTag: "x", Headers: []string{"Route: " + way + ">"}},
				{Method: "BYE", ToTag: "x", Headers: []string{"Route: " + way + ">"}},
			} {
				r.URI = roomIn(5 + 32*i)
				r.Headers = append(r.Headers, "X-IMC-Peer: guessed 1 1 1 x")
				name := fmt.Sprint(r.Method, r.ToTag, " at ", at, " for ", i)
				seen, _ := e[i].seen("imc.request")
				res, err := alice.Do(kit.Context(t), r)
				if err != nil || res.StatusCode != 202 || res.Reason != fmt.Sprint(i+1) {
					t.Fatalf("%s: %v, %v", name, res, err)
				}
				want := r.ToTag == "" && r.Method != "REFER"
				if h := res.GetHeaders("Record-Route"); (len(h) == 1) != want || want && !strings.HasPrefix(h[0].Value(), way) {
					t.Errorf("%s: %s", name, res)
				}
				if now, _ := e[i].seen("imc.request"); len(now) != len(seen)+1 {
					t.Errorf("%s: it came %d times", name, len(now)-len(seen))
				}
				if r.Method == "INVITE" {
					acknowledge(t, alice, res, k, r.URI)
					log.notAgain(t, name, "SIP/2.0 202 ")
				}
			}
		}
	}
	// All groups of a user are made by one engine, wherever the user is.
	made := ""
	for at := range p.alice {
		res, err := p.alice[at].Do(kit.Context(t), evapitest.Request{Method: "INVITE",
			URI: "sip:conference-factory@chat.test", Headers: []string{"Subject: x"}})
		if err != nil || res.StatusCode != 202 || made != "" && res.Reason != made {
			t.Errorf("creation: %v, %v", res, err)
		}
		made = res.Reason
		acknowledge(t, p.alice[at], res, p.k[at], roomIn(5))
	}
	p.nothingIsLeft(t)
}
