package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// otherRoom makes a room of alice and bob in another shard than r.
func (b *bobs) otherRoom() string {
	other := "q"
	for b.e.shardOfKey(other+"@x.org") == b.e.shardOfKey("r@x.org") {
		other += "q"
	}
	b.say("alice", other, "#create")
	b.say("bob", other, "#join")
	settle()
	b.texts()
	return other
}

// floods lets alice say in a room one message more than a lane takes.
func (b *bobs) floods(room string) (texts []string) {
	for i := range maxLane + 2 {
		texts = append(texts, fmt.Sprint(room, " ", i))
		<-b.post("alice", room+"@x.org", texts[i])
		synctest.Wait()
	}
	return texts
}

// only are those of texts that are of a room, sorted.
func only(room string, texts []string) []string {
	texts = slices.DeleteFunc(slices.Clone(texts), func(text string) bool { return !strings.HasPrefix(text, room+" ") })
	slices.Sort(texts)
	return texts
}

// TestFailsWhileItReturns: a device gets what it is owed in one room, when it fails in another one, to take a message
// that is older than all of these. Then it gets what it is owed there, and nothing of the first room again.
func TestFailsWhileItReturns(t *testing.T) {
	for name, pace := range map[string]time.Duration{"at once": 0, "rooms are loaded slowly": loadTimeout - time.Second} {
		t.Run(name, func(t *testing.T) {
			severalDevices(t, []string{"phone", "tablet"}, func(b *bobs) {
				other := b.otherRoom()
				b.relay.set(func() {
					b.relay.far = map[string]time.Duration{"tablet": 150 * time.Millisecond}
					b.relay.silent = map[string]string{"tablet": "r old"}
				})
				b.store.mu.Lock()
				b.store.pace = pace
				b.store.mu.Unlock()
				<-b.post("alice", "r@x.org", "r old")
				pass(8 * time.Second)
				want := append(b.floods(other), "r new")
				<-b.post("alice", "r@x.org", "r new")
				pass(3 * time.Second) // the tablet has not answered the old one for ten seconds
				got := b.texts()["tablet"]
				b.relay.set(func() { b.relay.silent = nil })
				if !slices.Equal(only("r", got), []string{"r old"}) || pace == 0 && len(only(other, got)) < 2 {
					t.Errorf("at first the tablet got %q", got)
				}
				got = slices.DeleteFunc(got, func(text string) bool { return text == "r old" })
				pass(time.Minute)
				b.reports("tablet", time.Hour)
				b.rest()
				got = append(got, b.texts()["tablet"]...)
				want = append(want, "r old")
				for _, room := range []string{"r", other} {
					if got, want := only(room, got), only(room, want); !slices.Equal(got, want) {
						t.Errorf("the tablet got %d of %d: %q", len(got), len(want), got)
					}
				}
			})
		})
	}
}

// TestDropsWhileItReturns: a room is being loaded for a device that returns, when so much is said there that the device
// is owed what waits for it there from before.
func TestDropsWhileItReturns(t *testing.T) {
	severalDevices(t, []string{"phone", "tablet"}, func(b *bobs) {
		other := b.otherRoom()
		b.relay.set(func() { b.relay.far = map[string]time.Duration{"tablet": 3 * time.Second} })
		b.store.mu.Lock()
		b.store.pace = 2 * time.Second
		b.store.mu.Unlock()
		want := b.says(0, 3, 10*time.Millisecond)
		b.floods(other)
		pass(time.Second)
		want = append(want, b.floods("r")...)
		b.rest()
		got := b.texts()["tablet"]
		for _, text := range want {
			if !slices.Contains(got, text) {
				t.Errorf("the tablet lacks %q", text)
			}
		}
	})
}
