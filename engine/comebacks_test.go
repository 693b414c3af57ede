package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"imcd/engine/store"
	"imcd/evapi"
)

// bobs are bob's devices, some of which are there.
type bobs struct {
	*house
	there []string
}

// comes registers a device of bob's.
func (b *bobs) comes(device string) {
	pass(time.Millisecond) // no two registrations come at the same time
	b.there = append(b.there, device)
	b.relay.set(func() { b.relay.phones = map[string][]string{"bob": slices.Clone(b.there)} })
	b.reports(device, time.Hour)
	b.e.Registered("sip:bob@x.org")
}

func (b *bobs) goes(device string) {
	b.there = slices.DeleteFunc(b.there, func(d string) bool { return d == device })
	b.relay.set(func() { b.relay.phones = map[string][]string{"bob": slices.Clone(b.there)} })
	b.reports(device, 0)
}

// reports is a registration of a device of bob's: left is 0 if it ends, and negative if it is one without a GRUU.
func (b *bobs) reports(device string, left time.Duration) {
	d := evapi.Device{Contact: "sip:bob@" + device, Instance: device, Left: left.Abs()}
	if left > 0 {
		d.GRUU = device
	}
	b.e.Devices(evapi.Registration{AOR: "sip:bob@x.org", Devices: []evapi.Device{d},
		Source: fmt.Sprint("udp:192.0.2.1:", portOf(device))})
}

// texts are what the devices of bob have got since the last call, by device. What one has answered by a failure for now
// it has not got.
func (b *bobs) texts() map[string][]string {
	all := make(map[string][]string)
	for _, g := range b.relay.take() {
		got := g.code == 0 || judge(evapi.Result{Code: g.code}).final()
		if strings.HasPrefix(g.to, "sip:bob@") && !strings.HasPrefix(g.body, "***") && got {
			text := strings.TrimPrefix(strings.TrimPrefix(g.body, "[alice]: "), "[bob]: ")
			all[g.device] = append(all[g.device], text)
		}
	}
	return all
}

// owed are bob's devices that are owed something, as the store has it.
func (b *bobs) owed() (list []string) {
	rows, err := b.store.Devices(context.Background(), store.Name{User: "bob", Host: "x.org"})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, r := range rows {
		if !r.GoneAt.IsZero() {
			list = append(list, r.Device)
		}
	}
	slices.Sort(list)
	return list
}

// settle lets everything happen that is to happen soon.
func settle() {
	pass(5 * time.Second)
}

// got waits until bob's devices that are there have got what was said before: what a device has just got is not owed to
// it when it goes. One that was owed something when imcd was killed gets that when it registers, or something new is
// said: so each registers again first.
func (b *bobs) got() {
	b.t.Helper()
	settle()
	for _, d := range b.there {
		b.reports(d, time.Hour)
	}
	settle()
	for range 100 {
		list, err := b.e.UserDevices(context.Background(), "sip:bob@x.org", "")
		if err != nil {
			b.t.Fatal(err)
		}
		if !slices.ContainsFunc(list, func(d UserDevice) bool { return d.Registered && len(d.Rooms) > 0 }) {
			return
		}
		settle()
	}
	b.t.Errorf("bob's devices have not got everything")
}

// rest waits until nothing is on its way to bob's devices any more, half an hour at most: a try that has failed is made
// again after 15 minutes.
func (b *bobs) rest() {
	b.t.Helper()
	lacks := func(d UserDevice) bool { return len(d.Rooms) > 0 }
	for end := time.Now().Add(time.Hour / 2); time.Now().Before(end); pass(10 * time.Second) {
		synctest.Wait()
		list, err := b.e.UserDevices(context.Background(), "sip:bob@x.org", "")
		if err != nil {
			b.t.Fatal(err)
		}
		if !slices.ContainsFunc(list, lacks) && len(b.owed()) == 0 {
			break
		}
	}
	pass(time.Minute) // for what comes twice
}

func TestDeviceGetsWhatOthersGot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bobs{house: startHouse(t, newMemStore(), nil)}
		defer b.close()
		b.say("alice", "r", "#create")
		b.say("alice", "late", "#create")
		b.say("alice", "late", "before bob came")
		b.say("bob", "r", "#join")
		b.comes("phone")
		b.comes("tablet")
		settle()
		b.texts()
		b.say("alice", "r", "both")
		settle()
		b.goes("tablet")
		settle()
		b.say("bob", "late", "#join")
		var want []string
		for i := range 100 {
			want = append(want, fmt.Sprint("text ", i))
			b.say("alice", "r", want[i])
			b.say("bob", "r", "mine")
		}
		b.say("alice", "late", "after bob came")
		settle()
		if got := b.texts(); len(got["phone"]) != 102 || len(got["tablet"]) != 1 {
			t.Errorf("phone %d, tablet %q", len(got["phone"]), got["tablet"])
		}
		b.comes("tablet")
		pass(10 * time.Millisecond)
		b.say("alice", "r", "again both")
		settle()
		got := b.texts()
		if len(got["phone"]) != 1 {
			t.Errorf("the phone got %q", got["phone"])
		}
		inOrder := slices.DeleteFunc(slices.Clone(got["tablet"]),
			func(s string) bool { return !strings.HasPrefix(s, "text") })
		if !slices.Equal(inOrder, want) || len(got["tablet"]) != 102 || !slices.Contains(got["tablet"], "after bob came") {
			t.Errorf("the tablet got %q", got["tablet"])
		}
		if owed := b.owed(); len(owed) > 0 {
			t.Errorf("%q are still owed something", owed)
		}
	})
}

// TestOnlyDeviceIsOwedNothing: with one device everything is as without devices. So it is with one that Kamailio cannot
// tell from others.
func TestOnlyDeviceIsOwedNothing(t *testing.T) {
	for name, others := range map[string]bool{"one device": false, "no GRUU": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &bobs{house: startHouse(t, newMemStore(), nil)}
				defer b.close()
				b.say("alice", "r", "#create")
				b.say("bob", "r", "#join")
				if others {
					b.comes("tablet")
				}
				b.comes("phone")
				settle()
				b.texts()
				b.say("alice", "r", "one")
				synctest.Wait()
				b.goes("phone")
				settle()
				if got := b.owed(); !slices.Equal(got, []string{"phone"}) {
					t.Errorf("%q are owed something", got)
				}
				b.say("alice", "r", "two")
				settle()
				if others {
					b.reports("phone", -time.Hour)
				} else {
					b.comes("phone")
				}
				settle()
				want := []string{"one", "two"}
				if others {
					want = []string{"one"}
				}
				if got := b.texts()["phone"]; !slices.Equal(got, want) || len(b.owed()) > 0 {
					t.Errorf("the phone got %q; %q are owed something", got, b.owed())
				}
			})
		})
	}
}

// TestGoneBeforeImcdHears: what is said after a device has gone, and before imcd hears of that, is owed to it, though
// the copy was one for all devices, as for those that imcd cannot distinguish.
func TestGoneBeforeImcdHears(t *testing.T) {
	severalDevices(t, nil, func(b *bobs) {
		tell := func(host string, left time.Duration) {
			registers(b.e, "bob", evapi.Device{Contact: "sip:bob@" + host + ":5060;transport=tcp", GRUU: host, Left: left})
		}
		there := func(hosts ...string) { b.relay.set(func() { b.relay.phones = map[string][]string{"bob": hosts} }) }
		there("phone", "tablet")
		tell("phone", time.Hour)
		tell("tablet", time.Hour)
		settle()
		want := b.says(0, 1, time.Second)
		there("phone")
		want = append(want, b.says(1, 1, goneBefore/2)...)
		tell("tablet", 0)
		want = append(want, b.says(2, 1, time.Second)...)
		settle()
		there("phone", "tablet")
		tell("tablet", time.Hour)
		settle()
		got := b.texts()
		if !slices.Equal(got["phone"], want) || !slices.Equal(got["tablet"], want) {
			t.Errorf("the phone got %q, the tablet %q", got["phone"], got["tablet"])
		}
	})
}

// TestDeviceDoesNotTakeAMessage: a device that does not answer a message gets it again when it registers again, and, if
// it never answers it, those after it in the end.
func TestDeviceDoesNotTakeAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bobs{house: startHouse(t, newMemStore(), func(c *Config) { c.PoisonTries = 3 })}
		defer b.close()
		b.say("alice", "r", "#create")
		b.say("bob", "r", "#join")
		b.comes("phone")
		b.comes("tablet")
		settle()
		b.goes("tablet")
		for i := range 3 {
			b.say("alice", "r", fmt.Sprint("text ", i))
			pass(10 * time.Millisecond)
		}
		settle()
		b.texts()
		for try := range 4 {
			b.relay.set(func() { b.relay.silent = map[string]string{"tablet": "text 1"} })
			b.comes("tablet")
			pass(time.Minute)
			want := []string{"text 1"}
			switch try {
			case 0:
				want = []string{"text 0", "text 1"}
			case 3:
				want = []string{"text 2"}
			}
			if got := b.texts()["tablet"]; !slices.Equal(got, want) {
				t.Errorf("try %d: %q, want %q", try, got, want)
			}
			if owed := len(b.owed()); (owed > 0) != (try < 3) {
				t.Errorf("try %d: %d devices are owed something", try, owed)
			}
			b.goes("tablet")
			settle()
		}
	})
}

// TestDevicesModel: whenever devices come and go, however far they are, and wherever imcd is killed, each device has in
// the end what was said since it is known, in order as far as it was owed it, and, if imcd was not killed, once. So it
// is with each member_window.
func TestDevicesModel(t *testing.T) {
	checkTimed(t, func(rt *rapid.T) {
		window := quickWindow(rapid.SampledFrom([]int{1, 1, 4, 16}).Draw(rt, "window"))
		config := func(c *Config) { // far devices are no reason to refuse messages
			window(c)
			c.MaxDelay = 0
		}
		b := &bobs{house: startHouse(rt, newMemStore(), config)}
		defer func() { b.close() }()
		rooms, devices := []string{"r", "q"}, []string{"d0", "d1", "d2"}
		for _, room := range rooms {
			b.say("alice", room, "#create")
			b.say("bob", room, "#join")
		}
		got := make(map[string][]string)
		collect := func() {
			for d, texts := range b.texts() {
				got[d] = append(got[d], texts...)
			}
		}
		want := make(map[string][]string) // by device that is known
		wrote := make(map[string]string)  // by text: the device of bob's
		said, killed := 0, false
		rt.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) {},
			"come": func(rt *rapid.T) {
				d := rapid.SampledFrom(devices).Draw(rt, "device")
				if slices.Contains(b.there, d) {
					return
				}
				b.comes(d)
				if want[d] == nil {
					want[d] = []string{}
				}
				pass(time.Duration(rapid.IntRange(200, 3000).Draw(rt, "ms")) * time.Millisecond)
			},
			"go": func(rt *rapid.T) {
				if len(b.there) == 0 {
					return
				}
				b.got()
				b.goes(rapid.SampledFrom(b.there).Draw(rt, "device"))
				pass(200 * time.Millisecond)
			},
			"say": func(rt *rapid.T) {
				for range rapid.IntRange(1, 40).Draw(rt, "n") {
					said++
					text := fmt.Sprint("text ", said)
					room, on := rapid.SampledFrom(rooms).Draw(rt, "room"), "" // of alice's
					var answer chan evapi.Answer
					if len(b.there) > 0 && rapid.Bool().Draw(rt, "bob") {
						on = rapid.SampledFrom(b.there).Draw(rt, "on")
						wrote[text] = on
						answer = b.write(on, room+"@x.org", text)
					} else {
						answer = b.post("alice", room+"@x.org", text)
					}
					if a := <-answer; a.Code != 200 {
						rt.Fatalf("%s is answered %d %s", text, a.Code, a.Reason)
					}
					synctest.Wait()
					for d := range want {
						if d != on {
							want[d] = append(want[d], text)
						}
					}
				}
				pass(200 * time.Millisecond)
			},
			"far": func(rt *rapid.T) {
				d := rapid.SampledFrom(devices).Draw(rt, "device")
				rtt := time.Duration(rapid.SampledFrom([]int{0, 20, 150}).Draw(rt, "ms")) * time.Millisecond
				b.relay.set(func() {
					far := maps.Clone(b.relay.far)
					if far == nil {
						far = make(map[string]time.Duration)
					}
					far[d] = rtt
					b.relay.far = far
				})
			},
			"kill": func(rt *rapid.T) {
				b.relay.set(func() { b.relay.down = true })
				collect()
				b.killed(config)
				killed = true
			},
		})
		for _, d := range devices {
			switch {
			case want[d] == nil:
			case slices.Contains(b.there, d): // it may be owed something
				b.reports(d, time.Hour)
			default:
				b.comes(d)
			}
		}
		settle()
		b.rest()
		collect()
		for d, texts := range want {
			for _, text := range texts {
				n := 0
				for _, g := range got[d] {
					if g == text {
						n++
					}
				}
				if n == 0 || n > 1 && !killed {
					rt.Errorf("%s has %s %d times", d, text, n)
				}
			}
			for _, g := range got[d] {
				if !slices.Contains(texts, g) && wrote[g] == d {
					rt.Errorf("%s has %s, which was written on it", d, g)
				}
			}
		}
		if owed := b.owed(); len(owed) > 0 {
			rt.Errorf("%q are still owed something", owed)
		}
	})
}
