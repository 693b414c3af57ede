package kamailiocfg_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"imcd/evapi"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	kamailiocfg "imcd/kamailio-cfg"
)

// TestRegistrationTellsOfTheDevice: how the registrar knows a contact, what save() did with it, and from where it came.
// A request to the contact's temporary GRUU reaches that device alone.
func TestRegistrationTellsOfTheDevice(t *testing.T) {
	for name, direct := range map[string]bool{"with IMC_DIRECT": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			opts := evapitest.Options{}
			if !direct {
				opts.Config = strings.ReplaceAll(kamailiocfg.File(kamailiocfg.Demo), "#!trydef IMC_DIRECT",
					"#!trydef NOT_IMC_DIRECT")
			}
			k := kit.Kamailio(t, opts)
			engine, _ := hello(t, k, k.Secret())
			phone := kit.UA(t, evapitest.UAConfig{User: "bob", Domain: "x", Proxy: k.SIPAddr()})
			tablet := kit.UA(t, evapitest.UAConfig{User: "bob", Domain: "x", Proxy: k.SIPAddr(), Transport: "tcp"})
			alice := kit.UA(t, evapitest.UAConfig{User: "alice", Proxy: k.SIPAddr()})
			for i, step := range []struct {
				ua    *evapitest.UA
				leave bool
				saved string
			}{{phone, false, "1"}, {phone, false, "2"}, {tablet, false, "1"}, {phone, true, "3"}, {phone, false, "1"}} {
				act := step.ua.Register
				if step.leave {
					act = step.ua.Unregister
				}
				if err := act(kit.Context(t)); err != nil {
					t.Fatal(err)
				}
				ev := next(t, engine, "imc.registered")
				got, err := evapi.DecodeEvent([]byte(ev.Raw))
				if err != nil {
					t.Fatal(err)
				}
				r := got.(evapi.Registration)
				if ev.Params["saved"] != step.saved || len(r.Devices) != 1 || r.AOR != step.ua.AOR() || r.Source == "" ||
					r.Devices[0].Contact != step.ua.Contact() || (r.Devices[0].Left == 0) != step.leave {
					t.Fatalf("step %d: %s", i, ev.Raw)
				}
				gruu := r.Devices[0].GRUU
				if (gruu == "") != (step.leave || !direct) {
					t.Fatalf("step %d: %s", i, ev.Raw)
				}
				if gruu == "" {
					continue
				}
				text := fmt.Sprint("step ", i)
				expect(t, say(t, alice, "sip:"+gruu+"@x;gr", text), 200)
				if m, err := step.ua.Next(kit.Context(t)); err != nil || m.Text() != text {
					t.Errorf("got %v, %v", m, err)
				}
			}
			if n, m := len(phone.Received()), len(tablet.Received()); direct && (n != 3 || m != 1) {
				t.Errorf("the phone got %d requests and the tablet %d", n, m)
			}
		})
	}
}

// TestDevices: imcd knows the devices of members.
func TestDevices(t *testing.T) {
	c := startChat(t, evapitest.Options{}, [2]string{})
	kit.Say(t, c.alice, "sip:chat-1@chat.test", "#create", 200)
	tablet := kit.Registered(t, c.k, evapitest.UAConfig{User: "alice", Domain: "chat.test", Transport: "tcp"})
	for _, act := range []func() error{
		func() error { return c.alice.Register(kit.Context(t)) },
		func() error { return c.bob.Register(kit.Context(t)) },
		func() error { return tablet.Unregister(kit.Context(t)) },
	} {
		if err := act(); err != nil {
			t.Fatal(err)
		}
	}
	client := c.operator(t)
	devices := func(user string) (list []struct {
		Contact    string
		Registered bool
	}) {
		if err := client.Call(kit.Context(t), "imc.devices", []string{user}, &list); err != nil {
			t.Fatal(err)
		}
		return list
	}
	kit.Eventually(t, "both devices of alice's", func() bool {
		list := devices("sip:alice@chat.test")
		return len(list) == 2 && list[0].Contact == tablet.Contact() && !list[0].Registered &&
			list[1].Contact == c.alice.Contact() && list[1].Registered
	})
	if list := devices("bob@chat.test"); len(list) != 0 {
		t.Errorf("bob is in no room, and has %+v", list)
	}
}

// TestDeviceComesBack: a tablet that was off gets what the phone of its user has got meanwhile, in order, and the phone
// gets nothing twice.
func TestDeviceComesBack(t *testing.T) {
	for _, c := range []struct{ fanout, transport string }{{"sip", "udp"}, {"sip", "tcp"}, {"batch", "ws"},
		{"rpc", "udp"}} {
		t.Run(c.fanout+" "+c.transport, func(t *testing.T) { deviceComesBack(t, c.fanout, c.transport) })
	}
}

// startRoom is a chat with a room of alice and bob, and the port of Kamailio's WebSocket.
func startRoom(t *testing.T, fanout string) (c *chat, port int) {
	t.Helper()
	port, err := evapitest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	c = startChat(t, evapitest.Options{}.WithWebSocket(port), [2]string{}, "-fanout", fanout)
	const room = "sip:chat-1@chat.test"
	kit.Say(t, c.alice, room, "#create", 200)
	kit.Say(t, c.bob, room, "#join", 200)
	return c, port
}

func deviceComesBack(t *testing.T, fanout, transport string) {
	const messages = 500
	c, port := startRoom(t, fanout)
	const room = "sip:chat-1@chat.test"
	cfg := evapitest.UAConfig{User: "bob", Domain: "chat.test", Transport: transport, Proxy: c.k.SIPAddr()}
	if transport == "ws" {
		cfg.Proxy = fmt.Sprint("127.0.0.1:", port)
	}
	tablet := kit.UA(t, cfg)
	for _, u := range []*evapitest.UA{tablet, c.bob} {
		if err := u.Register(kit.Context(t)); err != nil {
			t.Fatal(err)
		}
	}
	c.awaitDevices(t, "bob", func(registered int) bool { return registered == 2 })
	said := func(u *evapitest.UA) (texts []string, ids map[string]int) {
		ids = make(map[string]int)
		for _, m := range u.Received() {
			if text, ok := strings.CutPrefix(m.Text(), "[alice]: "); ok {
				texts = append(texts, text)
				ids[m.CallID]++
			}
		}
		return texts, ids
	}
	kit.Say(t, c.alice, room, "both", 200)
	kit.Eventually(t, "both have it", func() bool {
		a, _ := said(tablet)
		b, _ := said(c.bob)
		return len(a) == 1 && len(b) == 1
	})
	time.Sleep(100 * time.Millisecond) // a device that goes sooner gets its last message again
	if err := tablet.Unregister(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	c.awaitDevices(t, "bob", func(registered int) bool { return registered == 1 })
	want := []string{"both"}
	for i := range messages {
		want = append(want, fmt.Sprint("text ", i))
		kit.Say(t, c.alice, room, want[i+1], 200)
	}
	kit.Eventually(t, "the phone has all", func() bool { texts, _ := said(c.bob); return len(texts) == len(want) })
	began := time.Now()
	if err := tablet.Register(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "the tablet has all", func() bool { texts, _ := said(tablet); return len(texts) >= len(want) })
	t.Logf("the tablet had %d messages after %v", messages, time.Since(began))
	kit.Say(t, c.alice, room, "both again", 200)
	want = append(want, "both again")
	for name, u := range map[string]*evapitest.UA{"phone": c.bob, "tablet": tablet} {
		kit.Eventually(t, name+" has the last one", func() bool {
			texts, _ := said(u)
			return len(texts) > 0 && texts[len(texts)-1] == "both again"
		})
		texts, ids := said(u)
		if !slices.Equal(texts, want) {
			t.Errorf("the %s got %d messages: %.300q", name, len(texts), texts)
		}
		for id, n := range ids {
			if n > 1 {
				t.Errorf("the %s got %s %d times", name, id, n)
			}
		}
	}
	_, a := said(c.bob)
	if _, b := said(tablet); !maps.Equal(a, b) {
		t.Error("Call-IDs differ from device to device")
	}
}

// awaitDevices waits until imcd knows that so many devices of a user are registered.
func (c *chat) awaitDevices(t *testing.T, user string, ok func(registered int) bool) {
	t.Helper()
	client := c.operator(t)
	kit.Eventually(t, "the devices of "+user, func() bool {
		var list []struct{ Registered bool }
		if err := client.Call(kit.Context(t), "imc.devices", []string{"sip:" + user + "@chat.test"}, &list); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, d := range list {
			if d.Registered {
				n++
			}
		}
		return ok(n)
	})
}
