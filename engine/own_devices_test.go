package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"imcd/evapi"
)

// writes lets bob write texts on a device.
func (b *bobs) writes(device string, from, n int) (texts []string) {
	for i := range n {
		texts = append(texts, fmt.Sprint("text ", from+i))
		b.write(device, "r@x.org", texts[i])
		pass(time.Millisecond)
	}
	return texts
}

// write lets bob write a text on a device.
func (b *bobs) write(device, room, text string) chan evapi.Answer {
	m := b.request("bob", room, text)
	m.Proto, m.SrcIP, m.SrcPort = "udp", "192.0.2.1", portOf(device)
	return b.send(m)
}

// portOf is the port that a device of bob's sends from.
func portOf(device string) int {
	port := 0
	for _, c := range device {
		port = port*31 + int(c)
	}
	return port%60000 + 1
}

// TestOwnDevices: what bob writes on the phone comes to his other devices, once and in order with what others say, also
// to one that is off meanwhile; not to the phone. Nobody waits for it.
func TestOwnDevices(t *testing.T) {
	for name, change := range map[string]func(*Config){"on": func(*Config) {},
		"off": func(c *Config) { c.OwnDevices = false }} {
		t.Run(name, func(t *testing.T) {
			severalDevices(t, []string{"phone", "tablet", "desks"}, func(b *bobs) {
				change(&b.e.cfg)
				own := func(texts []string) []string {
					if name == "off" {
						return nil
					}
					return texts
				}
				for i := range 3 {
					b.goes("tablet")
					settle()
					before := slices.Concat(own(b.writes("phone", 100*i, 3)), b.says(100*i+10, 3, time.Millisecond))
					settle()
					b.comes("tablet")
					settle()
					before = slices.Concat(before, own(b.writes("phone", 100*i+20, 3)))
					settle()
					got := b.texts()
					for _, d := range []string{"tablet", "desks"} {
						if !slices.Equal(got[d], before) {
							t.Errorf("round %d: %s got %v, want %v", i, d, got[d], before)
						}
					}
					if want := before[len(own([]string{"", "", ""})):][:3]; !slices.Equal(got["phone"], want) {
						t.Errorf("round %d: phone got %v, want %v", i, got["phone"], want)
					}
				}
				b.goes("desks") // one device is left, and the other is off
				b.goes("tablet")
				settle()
				want := own(b.writes("phone", 500, 3))
				settle()
				b.comes("desks")
				settle()
				if got := b.texts(); !slices.Equal(got["desks"], want) || len(got["phone"]) > 0 {
					t.Errorf("got %v, want %v", got, want)
				}
			})
		})
	}
}

// TestOwnDeviceIsUnknown: bob writes from an address that is that of two devices, of none, or not known. No device gets
// it; and one that names its instance is known by that.
func TestOwnDeviceIsUnknown(t *testing.T) {
	severalDevices(t, []string{"phone", "table", "desk"}, func(b *bobs) {
		b.e.Devices(evapi.Registration{AOR: "sip:bob@x.org", Source: fmt.Sprint("udp:192.0.2.1:", portOf("table")),
			Devices: []evapi.Device{{Contact: "sip:bob@desk", Instance: "desk", GRUU: "desk", Left: time.Hour}}})
		settle()
		for _, from := range []string{"table", "lamp"} {
			b.writes(from, 0, 1)
		}
		b.post("bob", "r@x.org", "text")
		settle()
		if got := b.texts(); len(got) > 0 {
			t.Errorf("got %v", got)
		}
		m := b.request("bob", "r@x.org", "text 1", "Contact: <sip:bob@1.2.3.4>;+sip.instance=\"<table>\"\r\n")
		b.send(m)
		settle()
		if got := b.texts(); len(got["phone"]) != 1 || len(got["desk"]) != 1 || len(got["table"]) != 0 {
			t.Errorf("got %v", got)
		}
	})
}

// TestOwnDeviceDoesNotAnswer: bob's other devices are silent. He is not held up by that, and they get it, with what
// others have said meanwhile, when they register.
func TestOwnDeviceDoesNotAnswer(t *testing.T) {
	severalDevices(t, []string{"phone", "tablet"}, func(b *bobs) {
		b.relay.set(func() { b.relay.deaf = map[string]bool{"tablet": true} })
		own := b.writes("phone", 0, 2)
		said := b.says(10, 2, time.Millisecond)
		pass(100 * time.Millisecond)
		if got := b.texts(); !slices.Equal(got["phone"], said) {
			t.Errorf("phone got %v", got["phone"])
		}
		pass(time.Minute)
		b.relay.set(func() { b.relay.deaf = nil })
		if owed := b.owed(); !slices.Equal(owed, []string{"tablet"}) {
			t.Errorf("owed are %v", owed)
		}
		for n, want := range []int{4, 0} {
			list, err := b.e.UserDevices(context.Background(), "sip:bob@x.org", "")
			if err != nil || list[n].Owed != want || strings.HasSuffix(list[n].State, ", owed 4 messages") != (want > 0) {
				t.Errorf("device %d: %+v, %v", n, list, err)
			}
		}
		b.texts()
		b.reports("tablet", time.Hour)
		b.e.Registered("sip:bob@x.org")
		settle()
		if got, want := b.texts(), slices.Concat(own, said); !slices.Equal(got["tablet"], want) || len(got["phone"]) > 0 {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// TestOwnTextsWhileADeviceComes: what bob writes on the phone, while imcd does not know yet that the tablet is back, or
// while he waits for messages of the room, comes to the tablet once, and in order. So does what alice says.
func TestOwnTextsWhileADeviceComes(t *testing.T) {
	for name, c := range map[string]struct {
		waits, killed bool
		after         time.Duration // from the registration to what is written
	}{
		"he has caught up":             {after: reportsLinger / 2},
		"he waits":                     {waits: true, after: reportsLinger / 2},
		"he waits, and wrote before":   {waits: true, after: 2 * reportsLinger},
		"he waits, and imcd is killed": {waits: true, killed: true, after: 2 * reportsLinger},
	} {
		t.Run(name, func(t *testing.T) {
			severalDevices(t, []string{"phone", "tablet"}, func(b *bobs) {
				b.goes("tablet")
				settle()
				if c.waits {
					b.relay.set(func() { b.relay.codes["bob"] = evapi.Result{Code: 500} })
				}
				said := b.says(0, 3, 0)
				own := b.writes("phone", 10, 3)
				said = append(said, b.says(20, 3, 0)...)
				pass(100 * time.Millisecond)
				b.relay.set(func() { delete(b.relay.codes, "bob") })
				if c.killed {
					b.killed(quickWindow(1))
				}
				b.comes("tablet")
				pass(c.after)
				own = append(own, b.writes("phone", 30, 3)...)
				said = append(said, b.says(40, 1, 0)...)
				b.rest()
				got := b.texts()
				isOwn := func(text string) bool { return slices.Contains(own, text) }
				rest := slices.DeleteFunc(slices.Clone(got["tablet"]), isOwn)
				wrote := slices.DeleteFunc(got["tablet"], func(text string) bool { return !isOwn(text) })
				slices.Sort(rest) // one that comes to all devices need not wait for earlier ones
				if !slices.Equal(rest, said) || !slices.Equal(wrote, own) {
					t.Errorf("the tablet got %q, and of bob's %q", rest, wrote)
				}
				if phone := got["phone"]; !slices.Equal(phone, said) && !c.killed {
					t.Errorf("the phone got %q", phone)
				}
			})
		})
	}
}
