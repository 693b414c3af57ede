package engine

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"imcd/engine/store"
	"imcd/evapi"
)

// crowd is a store with rooms of that many members, none of whose phones answers by
// itself.
func crowd(sizes map[string]int) *memStore {
	kept := newMemStore()
	for room, n := range sizes {
		state := store.RoomState{Room: store.RoomRow{Name: store.Name{User: room, Host: "x.org"}}}
		for i := range n {
			user := fmt.Sprint(room, i)
			state.Members = append(state.Members, store.MemberRow{Room: state.Room.Name,
				User: store.Name{User: user, Host: "x.org"}})
			kept.codes[user] = evapi.Result{}
		}
		kept.rooms[state.Room.Name.Key()] = state
	}
	return kept
}

// serve answers copies one by one, the oldest first, until the small room has got
// all of its own, and returns how many others were sent before the last of them.
func serve(h *house, under []got, small int) (others int) {
	for small > 0 {
		if len(under) == 0 || others > 2000 {
			h.t.Fatalf("%d copies are under way after %d others, and %d of the small room are not sent", len(under),
				others, small)
		}
		h.e.Result(evapi.Result{CallID: under[0].callID, Code: 200})
		under = under[1:]
		synctest.Wait()
		for _, c := range h.relay.take() {
			under = append(under, c)
			if strings.HasPrefix(c.to, "sip:small") {
				small--
			} else {
				others++
			}
		}
	}
	return others
}

// TestSmallRoomBesideBig: a room in which much is to be sent holds up another only
// for a few copies, whether they are in the same shard or not, and however few
// copies may be under way. Nor does it hold up answers to commands.
func TestSmallRoomBesideBig(t *testing.T) {
	for _, c := range []struct {
		hash, burst int
		rooms       map[string]int
		most        int // copies of others
	}{
		{0, 3, map[string]int{"big": 100, "small": 5}, 2 * turnCopies},
		{0, 40, map[string]int{"big": 100, "small": 5}, 2 * turnCopies},
		{0, 40, map[string]int{"big": 100, "other": 100, "small": 5}, 3 * turnCopies},
		{4, 3, map[string]int{"big": 100, "small": 5}, 20},
		{4, 40, map[string]int{"big": 100, "small": 5}, 2 * 40},
		{4, 40, map[string]int{"big": 100, "other": 100, "small": 5}, 3 * 40},
		{4, 200, map[string]int{"big": 300, "other": 300, "small": 5}, 3 * 200},
	} {
		for _, what := range []string{"message", "command"} {
			t.Run(fmt.Sprintf("%d shards, %d copies, %d rooms, %s", 1<<c.hash, c.burst, len(c.rooms), what), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := openHouse(t, crowd(c.rooms), func(cfg *Config) { cfg.HashSize, cfg.MaxBurst = c.hash, c.burst })
					for range 50 {
						h.post("big0", "big@x.org", "x")
						if c.rooms["other"] > 0 {
							h.post("other0", "other@x.org", "x")
						}
					}
					synctest.Wait()
					under := h.relay.take()
					text, copies := "hello", 4
					if what == "command" {
						text, copies = "#list", 1
					}
					h.post("small0", "small@x.org", text)
					synctest.Wait()
					at := h.relay.take()
					for _, c := range at {
						if strings.HasPrefix(c.to, "sip:small") {
							copies-- // at once
						}
					}
					others := serve(h, append(under, at...), copies)
					t.Logf("%d copies of others", others)
					if others > c.most {
						t.Errorf("%d copies of other rooms went before the last of the small one, want %d at most", others, c.most)
					}
				})
			})
		}
	}
}
