package engine

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"

	"imcd/engine/store"
	"imcd/evapi"
)

// TestWaitedWhenADeviceWent: what waited for bob, as his only device had not taken it, comes to his other device and,
// once that is back, to the first one. Each gets it once, and in order.
func TestWaitedWhenADeviceWent(t *testing.T) {
	none := func(*bobs) {}
	killed := func(b *bobs) { b.killed(quickWindow(1)) }
	off := func(b *bobs) { b.relay.set(func() { b.relay.phones = map[string][]string{"bob": {}} }) }
	refuses := func(b *bobs) { b.relay.set(func() { b.relay.codes["bob"] = evapi.Result{Code: 500} }) }
	unregisters := func(b *bobs) { b.goes("phone") }
	for name, c := range map[string]struct {
		fails, goes, before, after func(*bobs) // before and after the tablet comes
		killed                     bool
	}{
		"it unregisters":                       {off, unregisters, none, none, false},
		"it refuses, and unregisters":          {refuses, unregisters, none, none, false},
		"its registration ends":                {off, func(*bobs) { pass(2 * time.Hour) }, none, none, false},
		"it is registered still":               {off, none, none, none, false},
		"imcd is killed before":                {off, unregisters, killed, none, true},
		"it is registered, and imcd is killed": {off, none, killed, none, true},
		"imcd is killed at once":               {off, unregisters, none, killed, true},
		"imcd is killed later":                 {off, unregisters, none, func(b *bobs) { settle(); killed(b) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			severalDevices(t, []string{"phone"}, func(b *bobs) {
				b.says(0, 3, time.Second)
				b.texts()
				c.fails(b)
				want := b.says(10, 3, time.Minute)
				c.goes(b)
				b.relay.set(func() { delete(b.relay.codes, "bob") })
				b.there = nil
				c.before(b)
				b.comes("tablet")
				pass(2 * reportsLinger)
				c.after(b)
				settle()
				want = append(want, b.says(20, 1, time.Second)...)
				b.rest()
				got := b.texts()
				if rest := got["tablet"]; !slices.Equal(rest, want) && !c.killed || len(got["phone"]) > 0 && !c.killed {
					t.Errorf("the tablet got %q, the phone %q", got["tablet"], got["phone"])
				}
				b.comes("phone")
				b.rest()
				got = b.texts()
				if !slices.Equal(got["phone"], want) || len(got["tablet"]) > 0 && !c.killed {
					t.Errorf("then the phone got %q, the tablet %q", got["phone"], got["tablet"])
				}
				if owed := b.owed(); len(owed) > 0 {
					t.Errorf("%q are still owed something", owed)
				}
			})
		})
	}
}

// TestGoesAheadOfMessages: both devices of bob are so far that messages for him wait for their turn. One of them goes,
// and gets the rest when it is back, and the other one what was written on it; once if imcd was not killed.
func TestGoesAheadOfMessages(t *testing.T) {
	for name, killed := range map[string]bool{"imcd goes on": false, "imcd is killed": true} {
		t.Run(name, func(t *testing.T) {
			severalDevices(t, []string{"phone", "tablet"}, func(b *bobs) {
				b.relay.set(func() {
					b.relay.far = map[string]time.Duration{"phone": 150 * time.Millisecond, "tablet": 150 * time.Millisecond}
				})
				want := b.says(0, 30, 10*time.Millisecond)
				wrote := b.writes("phone", 40, 1)
				b.goes("phone")
				pass(2 * reportsLinger)
				got := b.texts()
				if killed {
					b.killed(quickWindow(1))
				}
				want = append(want, b.says(30, 3, 500*time.Millisecond)...)
				b.rest()
				b.comes("phone")
				b.rest()
				for d, texts := range b.texts() {
					got[d] = append(got[d], texts...)
				}
				all := func(d string, want []string) { // what waited while both were there may come later than what follows
					texts := slices.Sorted(slices.Values(got[d]))
					if killed {
						texts = slices.Compact(texts)
					}
					if want = slices.Sorted(slices.Values(want)); !slices.Equal(texts, want) {
						t.Errorf("the %s got %d: %q", d, len(texts), texts)
					}
				}
				if phone := got["phone"]; !slices.Equal(phone, want) && !killed {
					t.Errorf("the phone got %d: %q", len(phone), phone)
				}
				all("phone", want)
				if !killed { // then imcd does not know that the tablet is the only one
					want = append(want, wrote...)
				}
				all("tablet", want)
				if owed := b.owed(); len(owed) > 0 {
					t.Errorf("%q are still owed something", owed)
				}
			})
		})
	}
}

// TestGoesForAMoment: both devices of bob are so far that messages for him wait for their turn. One of them goes, comes
// back a moment later, and may go again. In the end each has everything once.
func TestGoesForAMoment(t *testing.T) {
	for _, twice := range []bool{false, true} {
		for _, ms := range []int{20, 50, 100, 130, 200, 400} {
			gap := time.Duration(ms) * time.Millisecond
			t.Run(fmt.Sprint(gap, twice), func(t *testing.T) {
				severalDevices(t, []string{"phone", "tablet"}, func(b *bobs) {
					b.relay.set(func() {
						b.relay.far = map[string]time.Duration{"phone": 150 * time.Millisecond, "tablet": 150 * time.Millisecond}
					})
					want := slices.Sorted(slices.Values(b.says(0, 30, 10*time.Millisecond)))
					b.goes("phone")
					pass(gap)
					b.comes("phone")
					if twice {
						pass(gap)
						b.goes("phone")
						b.rest()
						b.comes("phone")
					}
					b.rest()
					got := b.texts()
					for _, d := range []string{"phone", "tablet"} {
						if texts := slices.Sorted(slices.Values(got[d])); !slices.Equal(texts, want) {
							lacks := slices.DeleteFunc(slices.Clone(want), func(text string) bool { return slices.Contains(texts, text) })
							t.Errorf("the %s got %d, and lacks %q", d, len(texts), lacks)
						}
					}
				})
			})
		}
	}
}

// TestEndsWhileDevicesAreOwed: what bob has taken before imcd ends does not come again after the next start, although
// the database learns only then that other devices may be owed it.
func TestEndsWhileDevicesAreOwed(t *testing.T) {
	for name, far := range map[string]time.Duration{
		"messages are loaded":  0,
		"it waits for answers": 80 * time.Millisecond,
		"it notes devices":     120 * time.Millisecond,
	} {
		t.Run(name, func(t *testing.T) {
			severalDevices(t, []string{"phone"}, func(b *bobs) {
				b.relay.set(func() { b.relay.phones = map[string][]string{"bob": {}} })
				want := b.says(0, 3, time.Second)
				b.texts()
				b.relay.set(func() { b.relay.phones, b.relay.rtt = map[string][]string{"bob": {"phone"}}, far })
				b.store.pace, b.store.noting = time.Millisecond, 50*time.Millisecond
				b.e.Registered("sip:bob@x.org")
				if far == 0 {
					b.reports("phone", time.Hour)
				} else {
					pass(2 * time.Millisecond) // the first one is under way
					time.AfterFunc(far/2, func() { b.reports("phone", time.Hour) })
				}
				b.stop(10 * time.Millisecond)
				got := b.texts()["phone"]
				if (len(got) > 0) != (far > 0) {
					t.Errorf("before the end, the phone got %q", got)
				}
				b.starts(b.store, quickWindow(1))
				b.rest()
				if got = append(got, b.texts()["phone"]...); !slices.Equal(got, want) {
					t.Errorf("the phone got %q", got)
				}
			})
		})
	}
}

// TestEndsWhileADeviceIsSilent: what one device has taken, and the other one has not answered when imcd ends, comes to
// the other one alone.
func TestEndsWhileADeviceIsSilent(t *testing.T) {
	severalDevices(t, []string{"phone", "tablet"}, func(b *bobs) {
		b.relay.set(func() { b.relay.deaf = map[string]bool{"tablet": true} })
		want := b.says(0, 3, 100*time.Millisecond)
		b.cut()
		if got := b.texts(); !slices.Equal(got["phone"], want) || len(got["tablet"]) > 0 {
			t.Errorf("before the end, the phone got %q, the tablet %q", got["phone"], got["tablet"])
		}
		b.starts(b.store, quickWindow(1))
		b.reports("tablet", time.Hour)
		b.rest()
		if got := b.texts(); len(got["phone"]) > 0 || !slices.Equal(got["tablet"], want) {
			t.Errorf("after it, the phone got %q, the tablet %q", got["phone"], got["tablet"])
		}
	})
}

// TestOweAbsentWaits: what the database does not take is written later, once for each device; there is a bound.
func TestOweAbsentWaits(t *testing.T) {
	s := newMemStore()
	dropped := prometheus.NewCounter(prometheus.CounterOpts{Name: "x"})
	r := newReports(s, DefaultConfig(), zerolog.Nop(), dropped)
	user := func(i int) store.Name { return store.Name{User: fmt.Sprint("u", i), Host: "x"} }
	off := store.DeviceRow{User: user(0), Device: "phone", OKAt: time.UnixMilli(5000), GoneAt: time.UnixMilli(5000)}
	s.devices[user(0).Key()] = []store.DeviceRow{off}
	written := 0
	moves := []store.GoneMove{{User: user(1), Device: "a", Is: time.UnixMilli(3)}, {User: user(0), Device: "a"},
		{User: user(1), Device: "a", Is: time.UnixMilli(2)}, {User: user(1), Device: "b", Is: time.UnixMilli(1)}}
	if got := earliestOf(moves); len(got) != 3 || got[1].Is.UnixMilli() != 2 {
		t.Errorf("got %v", got)
	}
	for i := range maxReports + 10 {
		if took := r.oweAbsent(user(i), absence{at: 1000}, func() { written++ }); took != (i < maxReports) {
			t.Fatalf("user %d: %t", i, took)
		}
	}
	if !r.oweAbsent(user(0), absence{at: 2000}, func() { written++ }) || testutil.ToFloat64(dropped) != 10 {
		t.Errorf("%v were dropped", testutil.ToFloat64(dropped))
	}
	for _, method := range []string{"Devices", "OweDevices"} {
		s.errs = map[string]error{method: store.ErrUnavailable}
		if err := r.flush(t.Context()); !errors.Is(err, store.ErrUnavailable) || written > maxReports {
			t.Errorf("%d were written: %v", written, err)
		}
	}
	s.errs = nil
	if err := r.flush(t.Context()); err != nil || written != maxReports+1 || len(r.owing) != 0 {
		t.Errorf("%d were written, %d wait: %v", written, len(r.owing), err)
	}
	if at := s.devices[user(0).Key()][0].GoneAt.UnixMilli(); at != 1000 {
		t.Errorf("the phone is owed what was accepted from %d on", at)
	}
}
