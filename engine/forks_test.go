package engine

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

// severalDevices runs f in a room of alice and bob, who has devices.
func severalDevices(t *testing.T, devices []string, f func(b *bobs)) {
	windowOfDevices(t, 1, devices, f)
}

// windowOfDevices is severalDevices with a member_window.
func windowOfDevices(t *testing.T, window int, devices []string, f func(b *bobs)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bobs{house: startHouse(t, newMemStore(), quickWindow(window))}
		defer func() { b.close() }()
		b.say("alice", "r", "#create")
		b.say("bob", "r", "#join")
		for _, d := range devices {
			b.comes(d)
		}
		settle()
		b.texts()
		f(b)
	})
}

// quickWindow is a configuration with a member_window and a result_timeout of ten seconds.
func quickWindow(window int) func(*Config) {
	return func(c *Config) { c.MemberWindow, c.ResultTimeout = window, 10*time.Second }
}

// killed is bob with an imcd that was killed, and started again.
func (b *bobs) killed(change func(*Config)) {
	b.relay.set(func() { b.relay.down = true })
	kept := b.store.crash()
	b.cut()
	b.starts(kept, change)
}

// starts is bob with an imcd that was started again, on what was kept.
func (b *bobs) starts(kept *memStore, change func(*Config)) {
	was := b.relay
	kept.before = func(e *Engine) { e.relay.(*fakeRelay).phones, e.relay.(*fakeRelay).far = was.phones, was.far }
	b.house = startHouse(b.t, kept, change)
}

// says lets alice say texts, with a pause after each, and returns these.
func (b *bobs) says(from, n int, pause time.Duration) (texts []string) {
	for i := range n {
		texts = append(texts, fmt.Sprint("text ", from+i))
		b.post("alice", "r@x.org", texts[i])
		pass(pause)
	}
	return texts
}

// TestSlowInTwoRooms: a device that is slow, and owed something in one room, gets all that is said in another one
// meanwhile, where messages wait for it, too. So does one that has just come back.
func TestSlowInTwoRooms(t *testing.T) {
	for _, missed := range []int{0, 20} {
		severalDevices(t, []string{"phone", "tablet"}, func(b *bobs) {
			other := b.otherRoom()
			b.relay.set(func() { b.relay.far = map[string]time.Duration{"tablet": 150 * time.Millisecond} })
			var want []string
			say := func(room string) {
				want = append(want, fmt.Sprint(room, " ", len(want)))
				<-b.post("alice", room+"@x.org", want[len(want)-1])
				synctest.Wait()
			}
			if missed > 0 {
				b.goes("tablet")
				settle()
				for range missed {
					say("r")
					say(other)
				}
				settle()
				b.comes("tablet")
				pass(2 * reportsLinger)
			}
			for range 3 {
				say("r")
			}
			for range maxLane - 3 {
				say(other)
			}
			for range 8 { // in between the lane there is full
				say(other)
				say("r")
			}
			b.rest()
			got := b.texts()["tablet"]
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				lacks := slices.DeleteFunc(slices.Clone(want), func(text string) bool { return slices.Contains(got, text) })
				t.Errorf("%d missed: the tablet lacks %q, and got %d of %d: %q", missed, lacks, len(got), len(want), got)
			}
		})
	}
}

// TestEachDeviceGetsACopy: all devices get each message once, by the same Call-ID.
func TestEachDeviceGetsACopy(t *testing.T) {
	severalDevices(t, []string{"phone", "tablet", "desk"}, func(b *bobs) {
		b.says(0, 20, 0)
		settle()
		ids := make(map[string]map[string]bool)
		for _, g := range b.relay.take() {
			if g.device == "" {
				continue
			}
			if ids[g.callID] == nil {
				ids[g.callID] = make(map[string]bool)
			}
			if ids[g.callID][g.device] {
				t.Errorf("%s got %s twice", g.device, g.callID)
			}
			ids[g.callID][g.device] = true
		}
		if len(ids) != 20 {
			t.Errorf("%d Call-IDs", len(ids))
		}
		for id, devices := range ids {
			if len(devices) != 3 {
				t.Errorf("%s reached %v", id, devices)
			}
		}
	})
}

// TestSilentDeviceIsOwed: a device that does not answer does not hold up the others, and gets the rest, in order, when
// it registers. Nobody gets anything twice.
func TestSilentDeviceIsOwed(t *testing.T) {
	for name, killed := range map[string]bool{"it registers": false, "imcd is killed before": true} {
		t.Run(name, func(t *testing.T) {
			severalDevices(t, []string{"phone", "tablet"}, func(b *bobs) {
				first := b.says(0, 10, 0)
				settle()
				b.relay.set(func() { b.relay.deaf = map[string]bool{"tablet": true} })
				all := slices.Concat(first, b.says(10, 30, 0), b.says(40, 60, 100*time.Millisecond))
				synctest.Wait()
				phone := b.texts()
				if !slices.Equal(phone["phone"], all) || !slices.Equal(phone["tablet"], first) {
					t.Fatalf("phone %d, tablet %q", len(phone["phone"]), phone["tablet"])
				}
				pass(time.Minute)
				if owed := b.owed(); !slices.Equal(owed, []string{"tablet"}) {
					t.Errorf("%q are owed something", owed)
				}
				if killed {
					b.killed(quickWindow(1))
				}
				b.relay.set(func() { b.relay.deaf = nil })
				b.reports("tablet", time.Hour)
				b.e.Registered("sip:bob@x.org")
				settle()
				got := b.texts()
				rest := got["tablet"]
				if len(rest) < 90 || !slices.Equal(rest[len(rest)-90:], all[10:]) || !killed && len(rest) > 90 {
					t.Errorf("the tablet got %d: %q", len(rest), rest)
				}
				if len(got["phone"]) > 0 {
					t.Errorf("the phone got %q", got["phone"])
				}
				if owed := b.owed(); len(owed) > 0 {
					t.Errorf("%q are still owed something", owed)
				}
			})
		})
	}
}

// TestSilentInOneRoom: a device that does not answer in one room, and does in another one, gets what it has not got in
// both, and nothing else, each time.
func TestSilentInOneRoom(t *testing.T) {
	severalDevices(t, []string{"phone", "tablet"}, func(b *bobs) {
		b.say("alice", "q", "#create")
		b.say("bob", "q", "#join")
		b.texts()
		for try := range 3 {
			say := func(room, text string, pause time.Duration) string {
				text = fmt.Sprint(room, " ", text, " ", try)
				b.post("alice", room+"@x.org", text)
				pass(pause)
				return text
			}
			silent := "r silent " + fmt.Sprint(try)
			b.relay.set(func() { b.relay.silent = map[string]string{"tablet": silent} })
			say("r", "silent", time.Second)
			got := say("q", "got", 15*time.Second)
			missed := []string{say("q", "missed", time.Second), say("r", "missed", time.Second), silent}
			b.relay.set(func() { b.relay.silent = nil })
			b.reports("tablet", time.Hour)
			settle()
			all := b.texts()
			if want := []string{silent, got}; !slices.Equal(all["tablet"][:2], want) {
				t.Errorf("try %d: at first the tablet got %q", try, all["tablet"])
			}
			rest := slices.Sorted(slices.Values(all["tablet"][2:]))
			if !slices.Equal(rest, missed) || len(all["phone"]) != 4 {
				t.Errorf("try %d: then the tablet got %q; the phone got %q", try, rest, all["phone"])
			}
			pass(time.Minute)
		}
	})
}

// TestKilledWhileADeviceIsSilent: the cursor in the database does not pass a message of which the database does not
// know that a device is owed it.
func TestKilledWhileADeviceIsSilent(t *testing.T) {
	for _, after := range []time.Duration{0, 2 * time.Second, 9 * time.Second, 12 * time.Second} {
		severalDevices(t, []string{"phone", "tablet"}, func(b *bobs) {
			b.relay.set(func() { b.relay.deaf = map[string]bool{"tablet": true} })
			want := b.says(0, 5, 10*time.Millisecond)
			pass(after)
			b.killed(nil)
			b.reports("tablet", time.Hour)
			b.e.Registered("sip:bob@x.org")
			settle()
			if got := b.texts()["tablet"]; !slices.Equal(got, want) {
				t.Errorf("killed after %v: the tablet got %q", after, got)
			}
		})
	}
}

// TestDeadContacts: a device gets messages as soon as if nine others that are dead were not there.
func TestDeadContacts(t *testing.T) {
	took := func(dead int) (total time.Duration) {
		devices := []string{"tenth"}
		for i := range dead {
			devices = append(devices, fmt.Sprint("dead", i))
		}
		severalDevices(t, devices, func(b *bobs) {
			b.relay.set(func() {
				b.relay.deaf = make(map[string]bool)
				for _, d := range devices[1:] {
					b.relay.deaf[d] = true
				}
				b.relay.far = map[string]time.Duration{"tenth": time.Millisecond, "": time.Millisecond}
			})
			for i := range 200 {
				began := time.Now()
				b.post("alice", "r@x.org", fmt.Sprint("text ", i))
				for len(b.texts()["tenth"]) == 0 {
					pass(100 * time.Microsecond)
				}
				total = max(total, time.Since(began))
				pass(100 * time.Millisecond)
			}
		})
		return total
	}
	if alone, among := took(0), took(9); among > alone+time.Millisecond {
		t.Errorf("it takes %v at most, and alone %v", among, alone)
	}
}

// TestSlowDevice: a device that answers later than others gets everything, in order and once, also if it is so slow
// that its messages are left to the database.
func TestSlowDevice(t *testing.T) {
	severalDevices(t, []string{"phone", "tablet"}, func(b *bobs) {
		b.relay.set(func() { b.relay.far = map[string]time.Duration{"tablet": 50 * time.Millisecond} })
		want := slices.Concat(b.says(0, 40, 0), b.says(40, 200, 10*time.Millisecond), b.says(240, 20, time.Second))
		pass(time.Minute)
		got := b.texts()
		for _, d := range []string{"phone", "tablet"} {
			if !slices.Equal(got[d], want) {
				t.Errorf("%s got %d of %d: %q", d, len(got[d]), len(want), got[d][min(90, len(got[d])):])
			}
		}
		if owed := b.owed(); len(owed) > 0 {
			t.Errorf("%q are owed something", owed)
		}
	})
}

// TestAllDevicesAreAway: what no device takes waits, and all get it once one is back.
func TestAllDevicesAreAway(t *testing.T) {
	severalDevices(t, []string{"phone", "tablet"}, func(b *bobs) {
		b.relay.set(func() { b.relay.deaf = map[string]bool{"tablet": true, "phone": true} })
		want := b.says(0, 3, time.Second)
		pass(20 * time.Second)
		if owed := b.owed(); len(owed) > 0 {
			t.Errorf("%q are owed something", owed)
		}
		b.relay.set(func() { b.relay.deaf = nil })
		b.reports("phone", time.Hour)
		b.e.Registered("sip:bob@x.org")
		settle()
		got := b.texts()
		for _, d := range []string{"phone", "tablet"} {
			if !slices.Equal(got[d], want) {
				t.Errorf("%s got %q", d, got[d])
			}
		}
	})
}

// TestNewContact: a device that registers with another contact while its old one is silent gets everything at the new
// one.
func TestNewContact(t *testing.T) {
	severalDevices(t, []string{"phone", "tablet"}, func(b *bobs) {
		b.relay.set(func() { b.relay.deaf = map[string]bool{"tablet": true} })
		want := b.says(0, 5, 100*time.Millisecond)
		b.relay.set(func() { b.relay.phones = map[string][]string{"bob": {"phone", "tablet2"}} })
		registers(b.e, "bob",
			evapi.Device{Contact: "sip:bob@elsewhere", Instance: "tablet", GRUU: "tablet2", Left: time.Hour})
		b.e.Registered("sip:bob@x.org")
		pass(200 * time.Millisecond)
		want = append(want, b.says(5, 5, 100*time.Millisecond)...)
		settle()
		got := b.texts()
		if !slices.Equal(got["phone"], want) || !slices.Equal(got["tablet2"], want) {
			t.Errorf("phone %q, tablet %q", got["phone"], got["tablet2"])
		}
		if owed := b.owed(); len(owed) > 0 {
			t.Errorf("%q are owed something", owed)
		}
	})
}

// TestRefusingDevice: a device that refuses the content is not owed it.
func TestRefusingDevice(t *testing.T) {
	severalDevices(t, []string{"phone", "tablet"}, func(b *bobs) {
		b.relay.set(func() { b.relay.says = map[string]int{"tablet": 415} })
		want := b.says(0, 3, time.Second)
		settle()
		if got := b.texts(); !slices.Equal(got["phone"], want) || !slices.Equal(got["tablet"], want) || len(b.owed()) > 0 {
			t.Errorf("%q; %q are owed something", got, b.owed())
		}
	})
}

// TestKamailioOfDevicesIsDown: while the Kamailio of one device is not connected, the others get everything at once,
// and that one gets the rest; if it is that of all, another Kamailio may reach them.
func TestKamailioOfDevicesIsDown(t *testing.T) {
	for _, cut := range []map[string]bool{{"tablet": true}, {"tablet": true, "phone": true}} {
		severalDevices(t, []string{"phone", "tablet"}, func(b *bobs) {
			b.relay.set(func() { b.relay.cutOff = cut })
			want := b.says(0, 5, 10*time.Millisecond)
			synctest.Wait()
			got := b.texts()
			if !slices.Equal(got["phone"], want) || len(cut) > 1 && !slices.Equal(got["tablet"], want) {
				t.Errorf("%v: phone %q, tablet %q", cut, got["phone"], got["tablet"])
			}
			b.relay.set(func() { b.relay.cutOff = nil })
			settle()
			b.reports("tablet", time.Hour)
			b.e.Registered("sip:bob@x.org")
			settle()
			if rest := b.texts()["tablet"]; len(cut) == 1 && !slices.Equal(rest, want) || len(cut) > 1 && len(rest) > 0 {
				t.Errorf("%v: after that the tablet got %q", cut, rest)
			}
		})
	}
}

// TestDevicesThatCannotBeToldApart: two devices without an instance that connect from one host may have one name. Their
// user gets one copy for all devices.
func TestDevicesThatCannotBeToldApart(t *testing.T) {
	for name, want := range map[string]bool{"al@10.0.0.1": true, "al@[::1]": true, "al@10.0.0.1:5060": false,
		"al@[::1]:5060": false, "<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>": false, "phone": false} {
		if got := mayBeTwo(name); got != want {
			t.Errorf("%s: %t", name, got)
		}
	}
	severalDevices(t, []string{"phone", "tablet"}, func(b *bobs) {
		for _, port := range []string{"1", "2"} {
			registers(b.e, "bob", evapi.Device{Contact: "sip:bob@10.0.0.1:" + port + ";transport=tcp", GRUU: "g" + port,
				Left: time.Hour})
			pass(time.Second)
		}
		b.relay.set(func() { b.relay.phones = map[string][]string{"bob": {"phone", "tablet", "g1", "g2"}} })
		want := b.says(0, 3, time.Second)
		settle()
		got := b.texts()
		for _, d := range []string{"phone", "tablet", "g1", "g2"} {
			if !slices.Equal(got[d], want) {
				t.Errorf("%s got %q", d, got[d])
			}
		}
	})
}

// TestDevicesOverConnections: devices without an instance that connect have copies of their own, if Kamailio knows them
// apart by their Call-IDs. One that was cut off gets what it has missed, also if it comes back from another host.
func TestDevicesOverConnections(t *testing.T) {
	severalDevices(t, nil, func(b *bobs) {
		comes := func(host, gruu, call string, there ...string) {
			registers(b.e, "bob", evapi.Device{Contact: "sip:bob@" + host + ":40000;transport=tcp", GRUU: gruu, CallID: call,
				Left: time.Hour})
			b.relay.set(func() { b.relay.phones = map[string][]string{"bob": there} })
			settle()
		}
		comes("10.0.0.1", "g1", "phone", "g1")
		comes("10.0.0.2", "g2", "tablet", "g1", "g2")
		both := b.says(0, 3, time.Second)
		b.relay.set(func() { b.relay.phones = map[string][]string{"bob": {"g1"}} })
		missed := b.says(3, 3, time.Second)
		comes("10.0.0.3", "g3", "tablet", "g1", "g3")
		last := b.says(6, 1, time.Second)
		settle()
		got := b.texts()
		if want := slices.Concat(both, missed, last); !slices.Equal(got["g1"], want) {
			t.Errorf("the phone got %q", got["g1"])
		}
		if want := slices.Concat(missed, last); !slices.Equal(got["g2"], both) || !slices.Equal(got["g3"], want) {
			t.Errorf("the tablet got %q, and then %q", got["g2"], got["g3"])
		}
		rows, err := b.store.Devices(context.Background(), store.Name{User: "bob", Host: "x.org"})
		if err != nil || len(rows) != 2 {
			t.Errorf("bob has %+v, %v", rows, err)
		}
	})
}
