package phones

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"imcd/evapi/evapitest/kit"
)

// roomOfAll: a room in which all clients talk, each by a transport of its own.
func roomOfAll(t *testing.T, s *site) {
	c := &conversation{t: t, site: s, room: "sip:chat-garden@" + s.domain}
	c.switchOn()
	c.gather()
	c.talk()
	c.typing()
	c.lose()
	c.part()
}

// conversation is a room with all clients.
type conversation struct {
	t    *testing.T
	site *site
	room string

	alice, bob, carol *phone // linphonec over TLS, TCP (with CPIM) and UDP
	dora              *phone // baresip, UDP
	eve, frank        *phone // JsSIP and SIP.js, WebSocket
	cables            map[*phone]*cable
	in                []*phone // members
	said              int      // messages in the room
}

func (c *conversation) switchOn() {
	s, t := c.site, c.t
	udp := s.Kamailio().SIPAddr()
	tls, tcp, ws1, ws2 := newCable(t, s.tls), newCable(t, udp), newCable(t, s.ws), newCable(t, s.ws)
	c.alice = hand(t, "alice", s.newLinphone(t, "alice", "tls", tls.addr(), false))
	c.bob = hand(t, "bob", s.newLinphone(t, "bob", "tcp", tcp.addr(), true))
	c.carol = hand(t, "carol", s.newLinphone(t, "carol", "udp", udp, false))
	c.dora = hand(t, "dora", s.newBaresip(t, "dora", udp, c.room))
	c.eve = hand(t, "eve", s.newNode(t, "jssip", "eve", ws1.addr()))
	c.frank = hand(t, "frank", s.newNode(t, "sipjs", "frank", ws2.addr()))
	c.cables = map[*phone]*cable{c.alice: tls, c.bob: tcp, c.eve: ws1, c.frank: ws2}
}

// gather: alice makes the room, all others join, carol by an invitation.
func (c *conversation) gather() {
	c.alice.says(c.room, "#create")
	c.alice.gets(c.room, "*** Room chat-garden created…")
	c.in = []*phone{c.alice}
	for _, p := range []*phone{c.bob, c.dora, c.eve, c.frank} {
		p.says(c.room, "#join")
		p.gets(c.room, "…")
		c.notice(p, " has joined…")
		c.in = append(c.in, p)
	}
	c.alice.says(c.room, "#invite carol")
	c.carol.gets(c.room, "*** …")
	c.alice.gets(c.room, "*** carol …")
	c.carol.says(c.room, "#accept")
	c.carol.gets(c.room, "…")
	c.notice(c.carol, " has joined…")
	c.in = append(c.in, c.carol)
	c.settle(c.in...)
}

// notice: all members get the notice about p, but p.
func (c *conversation) notice(p *phone, text string) {
	c.t.Helper()
	for _, other := range c.in {
		if other != p {
			other.gets(c.room, "*** "+p.user+text)
		}
	}
}

// all: everybody gets what author says, who gets nothing.
func (c *conversation) all(author *phone, text string) {
	c.t.Helper()
	author.says(c.room, text)
	c.said++
	for _, p := range c.in {
		if p != author {
			p.gets(c.room, "["+author.user+"]: "+text)
		}
	}
}

// talk: everybody says something, which is a message each: what the clients send by
// themselves is none.
func (c *conversation) talk() {
	for _, p := range c.in {
		c.all(p, "Grüße von "+p.user+" 🌻")
	}
	for _, p := range []*phone{c.dora, c.eve, c.frank} {
		c.all(p, "Zeile eins\nZeile zwei – ä\n\nund 🍅")
	}
	c.settle(c.in...)
	c.site.sequence(c.t, c.room, c.said)
	c.eve.says(c.room, fmt.Sprintf("#history %d", c.said))
	history := c.eve.next(c.room)
	if n := strings.Count(history, "Grüße von "); n != len(c.in) || strings.Contains(history, "imdn") {
		c.t.Errorf("the history has %d greetings:\n%s", n, history)
	}
}

// typing: that somebody is typing is shown by clients that know it, and is no message.
func (c *conversation) typing() {
	const kind = "application/im-iscomposing+xml"
	const body = `<?xml version="1.0" encoding="UTF-8"?><isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing">` +
		`<state>active</state><contenttype>text/plain</contenttype><refresh>60</refresh></isComposing>`
	ok, err := c.eve.client.(*node).send(kit.Within(c.t, 10*time.Second), c.room, kind, body)
	if err != nil || !ok {
		c.t.Fatalf("eve types: accepted %v, %v", ok, err)
	}
	c.settle(c.in...)
	c.site.sequence(c.t, c.room, c.said)
	all, _ := c.frank.received()
	n := 0
	for _, m := range all {
		if m.kind == kind {
			n++
			if m.text != body || m.from != c.room {
				c.t.Errorf("frank got %q", m)
			}
		}
	}
	if n != 1 {
		c.t.Errorf("frank heard %d times that eve types", n)
	}
}

// lose: phones are switched off, or lose their network, and miss nothing.
func (c *conversation) lose() {
	for _, p := range []*phone{c.bob, c.dora, c.frank} {
		p.unregister()
	}
	c.alice.says(c.room, "Wer ist da?")
	c.said++
	for _, p := range []*phone{c.carol, c.eve} {
		p.gets(c.room, "[alice]: Wer ist da?")
	}
	for _, p := range []*phone{c.bob, c.dora, c.frank} {
		p.register()
		p.getsWithin(2*time.Second, c.room, "[alice]: Wer ist da?")
	}
	c.settle(c.in...)
	for _, p := range []*phone{c.alice, c.bob, c.eve, c.frank} {
		c.cables[p].cut()
	}
	c.carol.says(c.room, "Hört mich jemand?")
	c.said++
	c.dora.gets(c.room, "[carol]: Hört mich jemand?")
	for _, p := range []*phone{c.alice, c.bob, c.eve, c.frank} {
		before := p.registrations()
		c.cables[p].mend()
		p.registersAgain(before)
		p.getsWithin(2*time.Second, c.room, "[carol]: Hört mich jemand?")
	}
	c.settle(c.in...)
	c.site.sequence(c.t, c.room, c.said)
}

// part: leaving, removal and the end of the room, of which each member hears once.
func (c *conversation) part() {
	c.dora.says(c.room, "#leave")
	c.dora.gets(c.room, "*** …")
	c.in = without(c.in, c.dora)
	c.notice(c.dora, " has left…")
	c.alice.says(c.room, "#remove frank")
	c.frank.gets(c.room, "*** …")
	c.in = without(c.in, c.frank)
	for _, p := range c.in {
		p.gets(c.room, "*** frank …")
	}
	c.frank.tries(c.room, "Hallo?")
	c.frank.gets(c.room, "*** You are not in room chat-garden…")
	c.settle(c.alice, c.bob, c.carol, c.dora, c.eve, c.frank)
	c.alice.says(c.room, "#destroy")
	for _, p := range c.in {
		p.gets(c.room, "*** …")
	}
	c.settle(c.alice, c.bob, c.carol, c.dora, c.eve, c.frank)
}

// settle waits until imcd has delivered everything and the phones have shown it, and
// checks that they have nothing that was not expected.
func (c *conversation) settle(phones ...*phone) {
	c.t.Helper()
	c.site.settle(c.t, phones...)
}

func without(all []*phone, one *phone) []*phone {
	var rest []*phone
	for _, p := range all {
		if p != one {
			rest = append(rest, p)
		}
	}
	return rest
}
