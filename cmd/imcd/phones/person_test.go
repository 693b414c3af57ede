package phones

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"imcd/evapi/evapitest/kit"
)

// TestOnePerson: pat has linphonec (TCP), baresip (UDP) and JsSIP (WebSocket). Each gets what others say, and what is
// written on another one, once and in order; also baresip, which is off for a while and has another
// contact after each start, and no +sip.instance.
func TestOnePerson(t *testing.T) {
	s := startSite(t, siteOptions{database: "sqlite", domain: domain, users: []string{"pat", "quinn"},
		imcLocal: "#!define IMC_DIRECT \"location\"\n"})
	room := "sip:chat-person@" + s.domain
	udp := s.Kamailio().SIPAddr()
	quinn := hand(t, "quinn", s.newNode(t, "jssip", "quinn", s.ws))
	linphone := hand(t, "pat", s.newLinphone(t, "pat", "tcp", udp, false))
	baresip := hand(t, "pat", s.newBaresip(t, "pat", udp, room))
	jssip := hand(t, "pat", s.newNode(t, "jssip", "pat", s.ws))
	quinn.says(room, "#create")
	linphone.says(room, "#join")
	quinn.until(room, "*** pat has joined the room.")
	// Devices are known from the first registration after their user has come into a room.
	var want []string
	says := func(p *phone, text string) {
		p.says(room, text)
		want = append(want, fmt.Sprintf("[%s]: %s", p.user, text))
	}
	for _, p := range []*phone{linphone, baresip, jssip} {
		p.unregister()
		p.register()
	}
	devicesKnown(t, s, 3)
	says(quinn, "begin")
	for _, p := range []*phone{linphone, baresip, jssip} {
		p.until(room, "[quinn]: begin")
	}
	says(linphone, "on linphone")
	baresip.until(room, "[pat]: on linphone")
	// What was said in the 50 ms before a device has gone comes again: it may not have got that.
	time.Sleep(500 * time.Millisecond)
	baresip.unregister()
	devicesKnown(t, s, 2)
	for i := range 60 {
		says(quinn, fmt.Sprint("text ", i))
	}
	says(jssip, "on JsSIP")
	says(quinn, "end")
	got := func(p *phone) (texts []string) {
		for _, m := range p.until(room, "[quinn]: end") {
			texts = append(texts, m.text)
		}
		return append(texts, "[quinn]: end")
	}
	but := func(text string) []string {
		return slices.DeleteFunc(slices.Clone(want[1:]), func(s string) bool { return strings.HasSuffix(s, text) })
	}
	if texts, all := got(linphone), but("on linphone"); !slices.Equal(texts, all) {
		t.Errorf("linphonec got %q", texts)
	}
	if texts, all := got(jssip), but("on JsSIP"); !slices.Equal(texts, all) {
		t.Errorf("JsSIP got %q", texts)
	}
	baresip.register()
	if texts := got(baresip); !slices.Equal(texts, want[2:]) {
		t.Errorf("baresip got %q", texts)
	}
}

// devicesKnown waits until imcd has noted all registrations of pat's, and knows n devices.
func devicesKnown(t *testing.T, s *site, n int) {
	t.Helper()
	kit.Eventually(t, "pat's devices", func() bool {
		var list []struct{ Registered bool }
		if err := s.Call(kit.Within(t, 10*time.Second), "imc.devices", []string{"sip:pat@" + s.domain}, &list); err != nil {
			t.Fatal(err)
		}
		list = slices.DeleteFunc(list, func(d struct{ Registered bool }) bool { return !d.Registered })
		return len(list) == n
	})
}
