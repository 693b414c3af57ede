package phones

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"imcd/evapi/evapitest/kit"
)

// person is pat, who has three devices and is in three rooms.
type person struct {
	t                        *testing.T
	site                     *site
	quinn                    *phone // somebody else in the rooms
	linphone, baresip, jssip *phone // over TCP, UDP and WebSocket
	cable                    *cable // linphone's
	cutOff                   int    // devices that are registered without a connection
	there                    []*phone
	rooms                    []string
	author                   map[string]*phone // by text
	kills                    int               // how often imcd is killed
	killing                  sync.WaitGroup
}

// newPerson starts a site with pat and quinn, who are in three rooms, and have all said something.
func newPerson(t *testing.T, kills int) *person {
	t.Helper()
	p := &person{t: t, author: make(map[string]*phone), kills: kills}
	p.site = startSite(t, siteOptions{database: "sqlite", domain: domain, users: []string{"pat", "quinn"},
		imcLocal: "#!define IMC_DIRECT \"location\"\n", settings: map[string]string{"history_max": "1000"}})
	t.Cleanup(p.killing.Wait)
	s, udp := p.site, p.site.Kamailio().SIPAddr()
	for i := range 3 {
		p.rooms = append(p.rooms, fmt.Sprintf("sip:chat-person%d@%s", i, s.domain))
	}
	p.cable = newCable(t, udp)
	p.quinn = hand(t, "quinn", s.newNode(t, "jssip", "quinn", s.ws))
	p.linphone = hand(t, "pat", s.newLinphone(t, "pat", "tcp", p.cable.addr(), false))
	p.baresip = hand(t, "pat", s.newBaresip(t, "pat", udp, p.rooms[0]))
	p.jssip = hand(t, "pat", s.newNode(t, "jssip", "pat", s.ws))
	for _, room := range p.rooms {
		p.quinn.says(room, "#create")
		p.linphone.says(room, "#join")
		p.quinn.until(room, "*** pat has joined the room.")
	}
	// Devices are known from the first registration after their user has come into a room.
	for _, d := range []*phone{p.linphone, p.baresip, p.jssip} {
		d.unregister()
		d.register()
		p.there = append(p.there, d)
	}
	p.devicesKnown()
	for _, room := range p.rooms {
		p.writes(p.quinn, room, "begin")
	}
	return p
}

// writes has a text accepted, which gets another end with each try.
func (p *person) writes(by *phone, room, text string) {
	p.t.Helper()
	text += " of " + room
	for try := 0; ; try++ {
		tried := text
		if try > 0 {
			tried += fmt.Sprint(" again ", try)
		}
		p.author[tried] = by
		ok, err := by.say(kit.Within(p.t, time.Minute), room, tried)
		if err != nil || !ok && (p.kills == 0 || try == 100) {
			p.t.Fatalf("%s says %q: accepted %v, %v", by.user, tried, ok, err)
		}
		if ok {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// said is what was said in a room, as imcd has it.
func (p *person) said(room string) (texts []string) {
	p.t.Helper()
	var list []struct{ Body string }
	kit.Eventually(p.t, "imcd says what "+room+" has", func() bool {
		err := p.site.Call(kit.Within(p.t, time.Minute), "imc.history", []any{room, 1000}, &list)
		if err != nil && p.kills == 0 {
			p.t.Fatal(err)
		}
		return err == nil
	})
	for _, item := range list {
		texts = append(texts, item.Body)
	}
	return texts
}

// got is what a device has got of a room's members.
func (p *person) got(d *phone, room string) (texts []string) {
	all, _ := d.texts()
	for _, m := range all {
		if _, text, ok := strings.Cut(m.text, "]: "); ok && m.from == room {
			texts = append(texts, text)
		}
	}
	return texts
}

// hasAll waits until a device has the last message of each room, but for its own.
func (p *person) hasAll(d *phone) {
	p.t.Helper()
	for _, room := range p.rooms {
		own := func(text string) bool { return p.author[text] == d }
		said := slices.DeleteFunc(p.said(room), own)
		last := said[len(said)-1]
		kit.Eventually(p.t, fmt.Sprintf("%T has %q", d.client, last), func() bool {
			return slices.Contains(p.got(d, room), last)
		})
	}
}

// idle waits until a device has everything, and imcd knows that: it gets nothing again then. If imcd is killed, it may.
func (p *person) idle(d *phone) {
	p.t.Helper()
	p.hasAll(d)
	if p.kills > 0 {
		return
	}
	if err := p.site.Idle(kit.Context(p.t)); err != nil {
		p.t.Fatal(err)
	}
}

// devicesKnown waits until imcd has noted which of pat's devices are registered. If it is killed, it may not have heard
// of it.
func (p *person) devicesKnown() {
	p.t.Helper()
	if p.kills > 0 {
		return
	}
	kit.Eventually(p.t, "pat's devices", func() bool {
		var list []struct{ Registered bool }
		err := p.site.Call(kit.Within(p.t, time.Minute), "imc.devices", []string{"sip:pat@" + p.site.domain}, &list)
		if err != nil {
			p.t.Fatal(err)
		}
		list = slices.DeleteFunc(list, func(d struct{ Registered bool }) bool { return !d.Registered })
		return len(list) == len(p.there)+p.cutOff
	})
}
