package engine

import (
	"fmt"
	"slices"
	"testing"
)

// TestFindRooms: the user part, else its end behind a dash, and never more than
// MaxFound.
func TestFindRooms(t *testing.T) {
	h := newHouse(t, nil)
	o := operator{t, h}
	rooms := []string{"chat-a@one.org", "Chat-A@two.org", "a@three.org", "chat-b@one.org", "chat-ab@one.org",
		"x-b@two.org"}
	for _, room := range rooms {
		o.want(h.e.CreateRoom(o.ctx(), room, false, ""), nil)
	}
	for n := range MaxFound + 5 {
		o.want(h.e.CreateRoom(o.ctx(), fmt.Sprintf("many@%d.org", n), false, ""), nil)
	}
	for name, want := range map[string][]string{
		"chat-a":         {"sip:Chat-A@two.org", "sip:chat-a@one.org"},
		"a":              {"sip:a@three.org"},
		"B":              {"sip:chat-b@one.org", "sip:x-b@two.org"},
		"sip:chat-b":     {"sip:chat-b@one.org"},
		"b@one.org":      {"sip:chat-b@one.org"},
		"chat-b@one.org": {"sip:chat-b@one.org"},
		"ab":             {"sip:chat-ab@one.org"},
		"c":              {}, "": {}, "sip:": {}, "@": {}, "chat-": {}, "%": {},
	} {
		if got, err := h.e.FindRooms(o.ctx(), name); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v %v, want %v", name, got, err, want)
		}
	}
	if got, err := h.e.FindRooms(o.ctx(), "many"); err != nil || len(got) != MaxFound {
		t.Errorf("%d rooms, %v", len(got), err)
	}
}
