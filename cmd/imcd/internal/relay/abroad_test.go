package relay

import (
	"fmt"
	"testing"

	"github.com/rs/zerolog"

	"imcd/evapi"
)

// Which copies have a name to be looked up.
func TestAbroad(t *testing.T) {
	out, err := evapi.NewOutgoing(evapi.Content{From: `"A <b@c>" <sip:chat-r@room.test>`})
	if err != nil {
		t.Fatal(err)
	}
	rule := &evapi.RoomRule{Expression: "^chat-"}
	stock := evapi.Welcome{Rooms: rule, Domains: []string{"Own.test", "127.0.0.1"}}
	abroad := func(set ...func(g *Group)) func(to string) string {
		g, err := New([]evapi.Config{{Addr: "127.0.0.1:1", Secret: "x"}, {Addr: "127.0.0.1:2", Secret: "x"}}, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		g.LookUp(nil)
		for _, f := range set {
			f(g)
		}
		return func(to string) string { return g.abroad(&evapi.Copy{Out: out, To: to}) }
	}
	welcome := func(i int, w evapi.Welcome) func(*Group) {
		return func(g *Group) { g.own.welcomed(g.conns[i], w) }
	}
	for name, c := range map[string]struct {
		abroad func(string) string
		want   map[string]string
	}{
		"stock": {abroad(welcome(0, stock)), map[string]string{
			"sip:bob@own.test": "", "sip:bob@OWN.test": "", "sip:bob@room.test": "", "sip:bob@ROOM.test": "",
			"sip:bob@127.0.0.1":   "",
			"sip:bob@far.example": "far.example", "sip:bob@Far.Example": "Far.Example", "sip:bob@192.0.2.1": "",
			"sip:bob@[2001:db8::1]":     "",
			"sip:bob@192.0.2.1.example": "192.0.2.1.example", "sip:bob@own.test.example": "own.test.example",
			"sip:bob@999.1.1.1": "999.1.1.1",
		}},
		"nothing known yet": {abroad(), map[string]string{"sip:bob@far.example": ""}},
		"any domain": {abroad(welcome(0, evapi.Welcome{Rooms: rule, AnyDomain: true})),
			map[string]string{"sip:bob@far.example": ""}},
		"older imc.cfg": {abroad(welcome(0, stock), welcome(1, evapi.Welcome{})),
			map[string]string{"sip:bob@far.example": ""}},
		"two Kamailios": {abroad(welcome(0, stock), welcome(1, evapi.Welcome{Rooms: rule, Domains: []string{"two.test"}})),
			map[string]string{"sip:bob@two.test": "", "sip:bob@own.test": "", "sip:bob@far.example": "far.example"}},
		"learnt": {abroad(welcome(0, stock), func(g *Group) { g.own.learn("Table.test") }),
			map[string]string{"sip:bob@table.test": ""}},
		"switched off": {abroad(welcome(0, stock), func(g *Group) { g.book = nil }),
			map[string]string{"sip:bob@far.example": ""}},
	} {
		for to, want := range c.want {
			if got := c.abroad(to); got != want {
				t.Errorf("%s: %s: %q, want %q", name, to, got, want)
			}
		}
	}
}

// What is learnt of own domains is bounded.
func TestLearntIsBounded(t *testing.T) {
	var o ownHosts
	o.welcomed(nil, evapi.Welcome{Rooms: &evapi.RoomRule{}, Domains: []string{"own.test"}})
	for i := range maxLearnt + 10 {
		o.learn(fmt.Sprintf("d%d.test", i))
		o.learn(fmt.Sprintf("d%d.test", i))
	}
	if len(o.learnt) != maxLearnt || !o.has("d1.test") || o.has("d999999.test") {
		t.Errorf("%d learnt", len(o.learnt))
	}
}
