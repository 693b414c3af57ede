package engine

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestOneTimeForAllRooms: bob's phone does not take a message of one room, and takes those of another one. It goes, and
// bob's tablet takes the first. When the phone is back, it gets that one alone.
func TestOneTimeForAllRooms(t *testing.T) {
	severalDevices(t, []string{"phone"}, func(b *bobs) {
		b.say("alice", "q", "#create")
		b.say("bob", "q", "#join")
		settle()
		b.texts()
		b.relay.set(func() { b.relay.silent = map[string]string{"": "old"} })
		b.post("alice", "r@x.org", "old")
		pass(time.Second)
		b.post("alice", "q@x.org", "new")
		pass(time.Second)
		b.goes("phone")
		settle()
		b.relay.set(func() { b.relay.silent = nil })
		b.comes("tablet")
		b.rest()
		b.texts()
		b.comes("phone")
		b.rest()
		if got := b.texts(); !slices.Equal(got["phone"], []string{"old"}) || len(got["tablet"]) > 0 {
			t.Errorf("at last the phone got %q, the tablet %q", got["phone"], got["tablet"])
		}
	})
}

// TestGoesForAMoment: both devices of bob are so far that messages for him wait for their turn. One of them goes, comes
// back a moment later, and may go again. In the end it has everything once.
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
					for d, texts := range b.texts() {
						if texts = slices.Sorted(slices.Values(texts)); !slices.Equal(texts, want) {
							lacks := slices.DeleteFunc(slices.Clone(want), func(text string) bool { return slices.Contains(texts, text) })
							t.Errorf("the %s got %d, and lacks %q", d, len(texts), lacks)
						}
					}
				})
			})
		}
	}
}

// TestKilledAfterARegistration: imcd is killed before the database knows of a device.
func TestKilledAfterARegistration(t *testing.T) {
	for _, fresh := range []bool{false, true} { // it registers for the first time
		t.Run(fmt.Sprint(fresh), func(t *testing.T) {
			severalDevices(t, []string{"phone", "tablet"}, func(b *bobs) {
				var want []string
				if !fresh {
					b.comes("desk")
					settle()
					b.goes("desk")
					settle()
					want = b.says(0, 3, time.Second)
				}
				b.comes("desk")
				pass(reportsLinger / 2)
				got := b.texts()["desk"]
				b.killed(quickWindow(1))
				want = append(want, b.says(3, 3, time.Second)...)
				b.rest()
				b.reports("desk", time.Hour)
				b.rest()
				if got = append(got, b.texts()["desk"]...); !slices.Equal(got, want) {
					t.Errorf("the desk got %q", got)
				}
			})
		})
	}
}
