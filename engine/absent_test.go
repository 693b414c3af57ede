package engine

import (
	"slices"
	"testing"
	"time"

	"imcd/evapi"
)

// TestWaitedWhenADeviceWent: what waited for bob, as his only device had not taken it, comes to his other device and, once
// that is back, to the first one. Each gets it once, and in order.
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
