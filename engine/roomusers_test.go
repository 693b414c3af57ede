package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"imcd/engine/store"
)

// TestRoomUsers: rooms and those who are in them as they are stored. What a commit under way changes is an event after
// it, and a failed one never was.
func TestRoomUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		for _, line := range []string{"alice red #create", "bob red #join", "alice red #invite carl", "dora blue #create"} {
			words := strings.SplitN(line, " ", 3)
			h.say(words[0], words[1], words[2])
		}
		h.pass(time.Second)
		const before = "blue: dora; red: alice bob"
		h.inside(t, "at first", before)
		gate := make(chan struct{})
		h.store.mu.Lock()
		h.store.gate, h.store.away = gate, true
		h.store.fail = func([]store.Change) (error, bool) { return store.ErrUnavailable, false }
		h.store.mu.Unlock()
		h.post("erin", "red@x.org", "#join")
		h.post("erin", "green@x.org", "#create")
		synctest.Wait()
		h.inside(t, "while it is written", before)
		close(gate)
		synctest.Wait()
		h.inside(t, "while the rooms are loaded again", before)
		h.store.mu.Lock()
		h.store.gate, h.store.away, h.store.fail = nil, false, nil
		h.store.mu.Unlock()
		h.pass(time.Minute)
		h.inside(t, "after the failure", before)
		h.want(h.say("erin", "red", "#join"), 200, 1)
		h.want(h.say("dora", "blue", "#destroy"), 200, 1)
		h.pass(time.Second)
		h.inside(t, "at last", "red: alice bob erin")
	})
}

func (h *house) inside(t *testing.T, when, want string) {
	t.Helper()
	var all []string
	for part := range h.e.RoomParts() {
		rooms, err := h.e.RoomUsers(t.Context(), part)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rooms {
			slices.Sort(r.Users)
			all = append(all, fmt.Sprintf("%s: %s", r.Room, strings.Join(r.Users, " ")))
		}
	}
	slices.Sort(all)
	if got := strings.ReplaceAll(strings.Join(all, "; "), "@x.org", ""); got != want {
		t.Errorf("%s: %s; want %s", when, got, want)
	}
}
