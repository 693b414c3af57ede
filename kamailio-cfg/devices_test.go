package kamailiocfg_test

import (
	"fmt"
	"strings"
	"testing"

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
				opts.Config = strings.ReplaceAll(kamailiocfg.File(kamailiocfg.Demo), "#!trydef IMC_DIRECT", "#!trydef NOT_IMC_DIRECT")
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
	client, err := evapi.Dial(kit.Context(t), c.imcd.RPCAddr(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
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
