package kamailiocfg_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// TestEachDeviceHasACopy: on each lane all devices of a user get each message once, in order and with the same
// Call-IDs, whatever transport they use.
func TestEachDeviceHasACopy(t *testing.T) {
	for _, fanout := range []string{"sip", "batch", "rpc"} {
		t.Run(fanout, func(t *testing.T) { eachDeviceHasACopy(t, fanout) })
	}
}

func eachDeviceHasACopy(t *testing.T, fanout string) {
	const messages = 40
	port, err := evapitest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	c := startChat(t, evapitest.Options{}.WithWebSocket(port), [2]string{}, "-fanout", fanout)
	const room = "sip:chat-1@chat.test"
	kit.Say(t, c.alice, room, "#create", 200)
	kit.Say(t, c.bob, room, "#join", 200)
	devices := []*evapitest.UA{c.bob}
	for _, transport := range []string{"udp", "tcp", "ws"} {
		cfg := evapitest.UAConfig{User: "bob", Domain: "chat.test", Transport: transport, Proxy: c.k.SIPAddr(),
			ContactParams: fmt.Sprintf(`;+sip.instance="<urn:uuid:%s>"`, transport)}
		if transport == "ws" {
			cfg.Proxy = fmt.Sprint("127.0.0.1:", port)
		}
		devices = append(devices, kit.UA(t, cfg))
	}
	for _, u := range devices {
		if err := u.Register(kit.Context(t)); err != nil {
			t.Fatal(err)
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
}
