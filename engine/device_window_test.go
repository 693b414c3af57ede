package engine

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

// misses lets bob's tablet miss n texts, which the phone gets.
func (b *bobs) misses(n int, pause time.Duration) (texts []string) {
	b.goes("tablet")
	settle()
	texts = b.says(0, n, pause)
	settle()
	b.texts()
	return texts
}

// TestDeviceWindow: a device that comes back gets what it has missed as fast as a member does: it takes one round trip
// for each message, or for each window of them, and no more copies are under way to it than that.
func TestDeviceWindow(t *testing.T) {
	const messages, trip = 500, 100 * time.Millisecond
	for _, tt := range windowTrips {
		t.Run(fmt.Sprint("window ", tt.window), func(t *testing.T) {
			windowOfDevices(t, tt.window, []string{"phone", "tablet"}, func(b *bobs) {
				want := b.misses(messages, 0)
				b.relay.set(func() { b.relay.far = map[string]time.Duration{"tablet": trip} })
				start := time.Now()
				b.comes("tablet")
				pass(2 * messages * trip)
				var sent []sent
				b.relay.set(func() { sent = b.relay.results })
				got := b.texts()
				if !slices.Equal(got["tablet"], want) || len(got["phone"]) > 0 || len(sent) != messages {
					t.Fatalf("of %d copies the tablet got %d: %q; the phone %q", len(sent), len(got["tablet"]), got["tablet"],
						got["phone"])
				}
				trips := sent[messages-1].at.Add(trip).Sub(start).Seconds() / trip.Seconds() / messages
				if trips > tt.most || trips < 1/float64(tt.window) {
					t.Errorf("%.3f round trips for each message, want %.3f at most", trips, tt.most)
				}
				if first := sent[1].at.Sub(sent[0].at); first < trip {
					t.Errorf("the second copy goes %v after the first one, of which nobody knows that it is answered", first)
				}
				for i := tt.window; i < messages; i++ {
					if before := sent[i-tt.window].at; sent[i].at.Sub(before) < trip {
						t.Fatalf("copy %d goes %v after copy %d", i, sent[i].at.Sub(before), i-tt.window)
					}
				}
			})
		})
	}
}

// TestDeviceWindowFails: if a message of several that are under way to a device fails, the device is owed it, and gets
// it when it comes back; those behind it, which the device has got, do not come again, but for a kill of imcd.
func TestDeviceWindowFails(t *testing.T) {
	const window, messages, fails = 8, 40, 7
	after := func(want []string) []string { return slices.Concat(want[fails:fails+1], want[fails+window:]) }
	for name, tt := range map[string]struct {
		back func(b *bobs)
		want func(all []string) []string
	}{
		"it registers": {func(b *bobs) { b.reports("tablet", time.Hour) }, after},
		"it has another contact": {func(b *bobs) {
			b.relay.set(func() { b.relay.phones = map[string][]string{"bob": {"phone", "tablet2"}} })
			registers(b.e, "bob",
				evapi.Device{Contact: "sip:bob@elsewhere", Instance: "tablet", GRUU: "tablet2", Left: time.Hour})
		}, after},
		"imcd is killed": {func(b *bobs) { b.killed(quickWindow(window)) },
			func(all []string) []string { return all[fails:] }},
	} {
		t.Run(name, func(t *testing.T) {
			windowOfDevices(t, window, []string{"phone", "tablet"}, func(b *bobs) {
				all := b.misses(messages, 10*time.Millisecond)
				b.relay.set(func() {
					b.relay.far = map[string]time.Duration{"tablet": 20 * time.Millisecond}
					b.relay.silent = map[string]string{"tablet": all[fails]}
				})
				b.comes("tablet")
				pass(9 * time.Second) // the database knows how far it has come, and the copy may still be answered
				if got := b.texts()["tablet"]; !slices.Equal(got, all[:fails+window]) {
					t.Fatalf("at first it got %q", got)
				}
				if name != "imcd is killed" {
					pass(time.Minute)
				}
				if owed := b.owed(); !slices.Equal(owed, []string{"tablet"}) {
					t.Errorf("%q are owed something", owed)
				}
				b.relay.set(func() { b.relay.silent = nil })
				tt.back(b)
				settle()
				got := b.texts()
				if rest := slices.Concat(got["tablet"], got["tablet2"]); !slices.Equal(rest, tt.want(all)) {
					t.Errorf("then it got %q", rest)
				}
				if owed := b.owed(); len(got["phone"]) > 0 || len(owed) > 0 {
					t.Errorf("the phone got %q; %q are owed something", got["phone"], owed)
				}
			})
		})
	}
}

// TestDeviceWindowRefuses: a device that does not take a message for now gets it again, and then goes on; nothing comes
// twice that it has taken.
func TestDeviceWindowRefuses(t *testing.T) {
	for _, window := range []int{1, 8} {
		windowOfDevices(t, window, []string{"phone", "tablet"}, func(b *bobs) {
			want := b.misses(64, 0)
			b.relay.set(func() { b.relay.far = map[string]time.Duration{"tablet": 20 * time.Millisecond} })
			b.comes("tablet")
			pass(reportsLinger + 50*time.Millisecond)
			for _, code := range []int{500, 486, 503} {
				b.relay.set(func() { b.relay.once["bob"] = evapi.Result{Code: code, Local: code == 503} })
				pass(30 * time.Millisecond)
			}
			pass(time.Minute)
			got := b.texts()["tablet"]
			if len(got) != len(want) || window == 1 && !slices.Equal(got, want) {
				t.Errorf("window %d: the tablet got %d: %q", window, len(got), got)
			}
			for _, text := range want {
				if !slices.Contains(got, text) {
					t.Errorf("window %d: the tablet has not got %s", window, text)
				}
			}
		})
	}
}

// TestDeviceFailsWhileRoomIsRead: a device fails in one room while messages of another one are read for it.
func TestDeviceFailsWhileRoomIsRead(t *testing.T) {
	for _, broken := range []error{nil, store.ErrUnavailable} {
		severalDevices(t, []string{"phone", "tablet"}, func(b *bobs) {
			other := "q"
			for b.e.shardOfKey(other+"@x.org") != b.e.shardOfKey("r@x.org") {
				other += "q"
			}
			b.say("alice", other, "#create")
			b.say("bob", other, "#join")
			want := append(b.misses(2*pageSize, time.Millisecond), "elsewhere 1", "elsewhere 2")
			b.say("alice", other, "elsewhere 1")
			b.texts()
			reads := make(chan struct{})
			b.store.mu.Lock()
			b.store.reads = reads
			b.store.mu.Unlock()
			b.comes("tablet")
			settle()
			for range 2 {
				reads <- struct{}{} // the first page of each room; the second one of r waits
			}
			settle()
			b.relay.set(func() { b.relay.deaf = map[string]bool{"tablet": true} })
			b.post("alice", other+"@x.org", "elsewhere 2")
			pass(15 * time.Second)
			b.store.mu.Lock()
			b.store.errs = map[string]error{"Messages": broken}
			b.store.mu.Unlock()
			close(reads)
			settle()
			b.relay.set(func() { b.relay.deaf = nil })
			b.store.mu.Lock()
			b.store.errs = nil
			b.store.mu.Unlock()
			b.reports("tablet", time.Hour)
			settle()
			b.rest()
			got := b.texts()["tablet"]
			slices.SortStableFunc(got, func(a, b string) int { return len(a)/len("elsewhere") - len(b)/len("elsewhere") })
			if !slices.Equal(got, want) {
				t.Errorf("%v: the tablet got %q", broken, got)
			}
			if n := b.e.held.total(); n != 0 {
				t.Errorf("%v: %d bytes are held", broken, n)
			}
		})
	}
}
