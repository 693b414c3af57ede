package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// places says how far bob's devices are in the rooms where they lack messages, or in a room.
func (b *bobs) places(room string) (lines []string) {
	list, err := b.e.UserDevices(context.Background(), "sip:bob@x.org", room)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, d := range list {
		for _, r := range d.Rooms {
			lines = append(lines, fmt.Sprintf("%s %s %d of %d, owed %d", d.Device, r.Room, r.Has, r.Sequence, r.Owed))
		}
	}
	slices.Sort(lines)
	return lines
}

// TestWhichDeviceHasWhat: of each device one can tell which messages of a room it has: while it is silent, after it has
// failed, while it is off, and after it has come back.
func TestWhichDeviceHasWhat(t *testing.T) {
	severalDevices(t, []string{"phone", "tablet"}, func(b *bobs) {
		b.say("alice", "s", "#create")
		b.say("bob", "s", "#join")
		want := func(what, room string, lines ...string) {
			t.Helper()
			if got := b.places(room); !slices.Equal(got, lines) {
				t.Errorf("%s: %q, want %q", what, got, lines)
			}
		}
		behind := func(n int) {
			t.Helper()
			d, err := b.e.RoomState(context.Background(), "sip:r@x.org")
			if err != nil || d.Members[1].DevicesOwed != n || d.Members[0].DevicesOwed != 0 {
				t.Errorf("%+v, %v; want %d devices", d.Members, err, n)
			}
		}
		b.says(0, 3, time.Millisecond)
		settle()
		want("both there", "")
		want("both there", "sip:R@x.org", "phone sip:r@x.org 3 of 3, owed 0", "tablet sip:r@x.org 3 of 3, owed 0")
		b.relay.set(func() { b.relay.deaf = map[string]bool{"tablet": true} })
		b.says(3, 2, time.Millisecond)
		pass(100 * time.Millisecond) // the phone has answered, and the tablet may do so yet
		want("no answer yet", "", "tablet sip:r@x.org 3 of 5, owed 0")
		behind(0)
		pass(time.Minute)
		want("it has failed", "", "tablet sip:r@x.org 3 of 5, owed 2")
		behind(1)
		b.relay.set(func() { b.relay.deaf = nil })
		b.reports("tablet", time.Hour)
		b.e.Registered("sip:bob@x.org")
		settle()
		want("it is back", "")
		behind(0)
		b.goes("tablet")
		settle()
		b.says(5, 1, time.Millisecond)
		b.post("alice", "s@x.org", "text")
		settle()
		want("it is off", "", "tablet sip:r@x.org 5 of 6, owed 1", "tablet sip:s@x.org 0 of 1, owed 1")
		want("it is off", "sip:s@x.org", "phone sip:s@x.org 1 of 1, owed 0", "tablet sip:s@x.org 0 of 1, owed 1")
		b.goes("phone")
		settle()
		b.says(6, 1, time.Millisecond)
		settle()
		want("all are off", "", "phone sip:r@x.org 6 of 7, owed 0", "tablet sip:r@x.org 5 of 7, owed 1",
			"tablet sip:s@x.org 0 of 1, owed 1")
		if _, err := b.e.UserDevices(context.Background(), "sip:bob@x.org", "sip:none@x.org"); !errors.Is(err, ErrNoUser) {
			t.Errorf("a room that he is not in: %v", err)
		}
	})
}
