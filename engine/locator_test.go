package engine

import (
	"slices"
	"sync"
	"testing"
	"time"

	"imcd/evapi"
)

// TestUnknownDevice: a device that imcd has not heard of, beside several that it knows, is found in the location table,
// and gets what was said since it registered; the others get nothing twice.
func TestUnknownDevice(t *testing.T) {
	severalDevices(t, nil, func(b *bobs) {
		var asked []evapi.Wanted
		b.e.AskContacts(func(users []evapi.Wanted) error {
			asked = append(asked, users...)
			return nil
		})
		b.comes("phone")
		settle()
		b.there = append(b.there, "desk") // nobody reports it
		b.says(0, 1, 0)                   // one copy is for all
		settle()
		b.comes("tablet")
		settle()
		if len(asked) != 1 || asked[0].User != "sip:bob@x.org" || asked[0].From == 0 {
			t.Fatalf("asked for %v", asked)
		}
		b.texts()
		want := b.says(1, 3, time.Millisecond)
		settle()
		contacts := []evapi.Device{
			{Contact: "sip:bob@phone", Instance: "phone", GRUU: "phone", Left: time.Hour, Since: time.Minute},
			{Contact: "sip:bob@desk", Instance: "desk", GRUU: "desk", Left: time.Hour, Since: time.Minute}}
		for range 2 { // the second answer says nothing new
			b.e.Found(evapi.Registration{AOR: "sip:bob@x.org", From: asked[0].From, Devices: contacts})
			settle()
		}
		want = append(want, b.says(4, 3, time.Millisecond)...)
		settle()
		got := b.texts()
		for _, d := range []string{"phone", "tablet", "desk"} {
			if !slices.Equal(got[d], want) {
				t.Errorf("%s got %v", d, got[d])
			}
		}
		asked = nil
		b.e.Unheard()
		settle()
		if len(asked) != 1 || asked[0].From != 0 {
			t.Errorf("asked for %v", asked)
		}
	})
}

// TestLateAnswerAboutDevices: an answer from the location table that comes when only one of the devices is left says
// nothing new of that, and it gets nothing twice.
func TestLateAnswerAboutDevices(t *testing.T) {
	severalDevices(t, []string{"phone", "tablet"}, func(b *bobs) {
		from := time.Now()
		want := b.says(0, 3, time.Second)
		b.goes("tablet")
		settle()
		want = append(want, b.says(3, 3, time.Second)...)
		settle()
		b.e.Found(evapi.Registration{AOR: "sip:bob@x.org", From: from.UnixMilli(), Devices: []evapi.Device{
			{Contact: "sip:bob@phone", Instance: "phone", GRUU: "phone", Left: time.Hour,
				Since: time.Since(from) - time.Second/2}}}) // whole seconds make it later than it was
		pass(time.Minute)
		settle()
		if got := b.texts(); !slices.Equal(got["phone"], want) {
			t.Errorf("the phone got %v", got["phone"])
		}
	})
}

// TestNewcomerIsAskedForAtOnce: the devices of a user who becomes a member are asked for at once, also shortly after a
// question about all users, and again if that fails.
func TestNewcomerIsAskedForAtOnce(t *testing.T) {
	severalDevices(t, []string{"phone", "tablet"}, func(b *bobs) {
		var mu sync.Mutex
		var asked []string
		fails := false
		b.e.AskContacts(func(users []evapi.Wanted) error {
			mu.Lock()
			defer mu.Unlock()
			if fails {
				return evapi.ErrFull
			}
			for _, w := range users {
				asked = append(asked, w.User)
			}
			return nil
		})
		waits := func(d time.Duration, want ...string) {
			t.Helper()
			pass(d)
			mu.Lock()
			defer mu.Unlock()
			if slices.Sort(asked); !slices.Equal(asked, want) {
				t.Errorf("asked for %q, want %q", asked, want)
			}
			asked = nil
		}
		b.say("alice", "s", "#create") // one copy is for all of alice's devices
		b.e.Unheard()
		waits(2*wantedAgain, "sip:alice@x.org", "sip:bob@x.org")
		b.e.Unheard()
		waits(wantedAgain/10, "sip:bob@x.org")
		b.e.Unheard()
		b.say("carol", "r", "#join")
		b.say("bob", "s", "#join") // his devices are known
		waits(wantedAgain/10, "sip:carol@x.org")
		waits(2*wantedAgain, "sip:bob@x.org")
		set := func(is bool) {
			mu.Lock()
			defer mu.Unlock()
			fails = is
		}
		set(true)
		b.say("dora", "r", "#join")
		waits(wantedAgain / 10)
		set(false)
		waits(2*wantedAgain, "sip:bob@x.org", "sip:dora@x.org")
	})
}
