package kamailiocfg_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"imcd/evapi"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// TestEachDeviceHasACopy: on each lane all devices of a user get each message once, in order and with the same
// Call-IDs, whatever transport they use, and also if one has registered while imcd was down.
func TestEachDeviceHasACopy(t *testing.T) {
	for _, fanout := range []string{"sip", "batch", "rpc"} {
		t.Run(fanout, func(t *testing.T) { eachDeviceHasACopy(t, fanout) })
	}
}

func eachDeviceHasACopy(t *testing.T, fanout string) {
	const messages = 40
	c, port := startRoom(t, fanout)
	const room = "sip:chat-1@chat.test"
	devices := []*evapitest.UA{c.bob}
	for _, transport := range []string{"udp", "tcp", "ws"} {
		cfg := evapitest.UAConfig{User: "bob", Domain: "chat.test", Transport: transport, Proxy: c.k.SIPAddr(),
			ContactParams: fmt.Sprintf(`;+sip.instance="<urn:uuid:%s>"`, transport)}
		if transport == "ws" {
			cfg.Proxy = fmt.Sprint("127.0.0.1:", port)
		}
		devices = append(devices, kit.UA(t, cfg))
	}
	for n, u := range devices {
		// imcd does not hear of the last one, and finds it in the location table.
		down := n == len(devices)-1 && fanout == "sip"
		if down {
			c.awaitDevices(t, "bob", func(registered int) bool { return registered == n })
			if err := c.imcd.Stop(); err != nil {
				t.Fatal(err)
			}
		}
		if err := u.Register(kit.Context(t)); err != nil {
			t.Fatal(err)
		}
		if down {
			if err := errors.Join(c.imcd.Start(kit.Context(t)), c.imcd.AwaitReady(kit.Context(t))); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.awaitDevices(t, "bob", func(registered int) bool { return registered == len(devices) })
	said := func(u *evapitest.UA) (texts []string, ids map[string]bool) {
		ids = make(map[string]bool)
		for _, m := range u.Received() {
			if text, ok := strings.CutPrefix(m.Text(), "[alice]: "); ok {
				texts = append(texts, text)
				ids[m.CallID] = true
			}
		}
		return texts, ids
	}
	var want []string
	for i := range messages {
		want = append(want, fmt.Sprint("text ", i))
		kit.Say(t, c.alice, room, want[i], 200)
	}
	var first map[string]bool
	for n, u := range devices {
		kit.Eventually(t, fmt.Sprint("device ", n, " has all"), func() bool {
			texts, _ := said(u)
			return len(texts) >= messages
		})
		texts, ids := said(u)
		if n == 0 {
			first = ids
		}
		if !slices.Equal(texts, want) || !maps.Equal(ids, first) {
			t.Errorf("device %d got %q", n, texts)
		}
	}
	// What bob writes on one device comes to the others.
	kit.Say(t, devices[1], room, "mine", 200)
	kit.Say(t, c.alice, room, "end", 200)
	for n, u := range devices {
		has := func(text string) bool {
			return slices.ContainsFunc(u.Received(), func(m evapitest.Received) bool { return m.Text() == text })
		}
		kit.Eventually(t, fmt.Sprint("device ", n, " has the end"), func() bool {
			return has("[alice]: end") && (n == 1 || has("[bob]: mine"))
		})
		if n == 1 && has("[bob]: mine") {
			t.Error("the device got what was written on it")
		}
	}
}

// TestContacts: what Kamailio says of the contacts of a user, who has one of each transport. What it has not
// reported, it counts.
func TestContacts(t *testing.T) {
	port, err := evapitest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	k := kit.Kamailio(t, evapitest.Options{}.WithWebSocket(port))
	var names []string
	for _, transport := range []string{"udp", "tcp", "ws"} {
		cfg := evapitest.UAConfig{User: "bob", Domain: "chat.test", Transport: transport, Proxy: k.SIPAddr(),
			ContactParams: fmt.Sprintf(`;+sip.instance="<urn:uuid:%s>"`, transport)}
		if transport == "ws" {
			cfg.Proxy = fmt.Sprint("127.0.0.1:", port)
		}
		if err := kit.UA(t, cfg).Register(kit.Context(t)); err != nil {
			t.Fatal(err)
		}
		names = append(names, "urn:uuid:"+transport)
	}
	// The phone has its answer before Kamailio reports the registration, so the last one may still be reported.
	engine, _ := hello(t, k, k.Secret())
	send(t, engine, call("imc.contacts", fmt.Sprintf("7 %s 8 %s .", b64("sip:bob@chat.test"), b64("sip:al@chat.test"))))
	located := func(from int64) (found map[string]evapi.Device) {
		ev, err := evapi.DecodeEvent([]byte(nextBut(t, engine, "imc.located", "imc.registered").Raw))
		if err != nil {
			t.Fatal(err)
		}
		c := ev.(evapi.ContactsEvent)
		if c.From != from {
			t.Errorf("the answer is from %d, want %d", c.From, from)
		}
		found = make(map[string]evapi.Device)
		for _, d := range c.Devices {
			found[d.Instance] = d
		}
		return found
	}
	bobs := located(7)
	for _, name := range names {
		if d := bobs[name]; d.GRUU == "" || d.Contact == "" || d.Left == 0 || d.Since > time.Minute {
			t.Errorf("%s is %+v", name, d)
		}
	}
	if len(bobs) != len(names) || len(located(8)) != 0 {
		t.Errorf("bob has %v", bobs)
	}
	send(t, engine, call("imc.ping", "1"))
	if pong := nextBut(t, engine, "imc.pong", "imc.registered"); !strings.Contains(pong.Raw, `"missed":3,`) &&
		!strings.Contains(pong.Raw, `"missed":2,`) {
		t.Errorf("Kamailio has not said how many registrations it has not reported: %s", pong.Raw)
	}
}
