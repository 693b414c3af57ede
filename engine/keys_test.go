package engine

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// TestKey: who joins with it, who without, and what each hears. Nobody sees it.
func TestKey(t *testing.T) {
	h := newTrio(t, nil)
	runSteps(t, h, []step{
		{"bob", "r", "#set key Rosebud", 403, -162, []string{"bob<r: *** Only an owner of"}},
		{"dora", "r", "#join r Rosebud", 400, -40, []string{"dora<r: *** The room has no key. Usage: #join [room] [key]"}},
		{"dora", "r", "#join none Rosebud", 404, -41, []string{"dora<r: *** There is no room none"}},
		{"alice", "r", "#set key on", 400, -160, []string{"alice<r: *** key: give the word that is to be the key."}},
		{"alice", "r", "#set key two words", 400, -160, []string{"alice<r: *** key takes one value: word|off. Usage"}},
		{"alice", "r", "#set key " + strings.Repeat("x", 73), 400, -160,
			[]string{"alice<r: *** key: a key has at most 72 bytes."}},
		{"alice", "r", "#set key Rosebud", 200, 1, all("*** alice has set key to on.")},
		{"alice", "r", "#set key Rosebud", 200, 1, []string{"alice<r: *** key: on"}},
		{"carol", "r", "#set key", 200, 1, []string{"carol<r: *** key: on"}},
		{"dora", "r", "#join", 403, -42, []string{"dora<r: *** Room r has a key: send #join r KEY."}},
		{"dora", "r", "#create", 403, -32, []string{"dora<r: *** Room r has a key: send #join r KEY."}},
		{"dora", "r", "#join r rosebud", 403, -42, []string{"dora<r: *** That is not the key of room r."}},
		{"dora", "r", "#join r Rosebud", 200, 1, append(all("*** dora has joined"), "dora<r: *** You are in r")},
		{"dora", "r", "#join r Rosebud", 200, 1, []string{"dora<r: *** You are in room r already."}},
		{"alice", "r", "#invite eve", 200, 1, []string{"alice<", "eve<"}},
		{"eve", "r", "#join", 200, 1, append(all("*** eve has joined"), "dora<", "eve<r: *** You are in r")},
		{"alice", "r", "#add frank", 200, 1, append(all("*** frank has joined"), "dora<", "eve<", "frank<")},
	})
	h.heard()
	acts, err := h.e.Acts(t.Context(), "sip:r@x.org", 1)
	if err != nil || len(acts) != 1 || acts[0].Why != "key: on" {
		t.Errorf("acts are %+v, %v", acts, err)
	}
	kept := h.store.copy()
	if len(kept.sets) != 1 {
		t.Errorf("stored are %v", kept.sets)
	}
	for _, value := range kept.sets {
		if bcrypt.CompareHashAndPassword([]byte(value), []byte("Rosebud")) != nil || strings.Contains(value, "osebud") {
			t.Errorf("stored is %q", value)
		}
	}
	h.close()
	h = openHouse(t, h.store, nil)
	for i := range 5 {
		h.want(h.say("greta", "r", fmt.Sprint("#join r guess", i)), 403, -42)
	}
	h.want(h.say("greta", "r", "#join r Rosebud"), 480, -48)
	h.want(h.say("henry", "r", "#join r Rosebud"), 200, 1)
	h.want(h.say("alice", "r", "#set key OFF"), 200, 1)
	h.want(h.say("greta", "r", "#join"), 200, 1)
	o := operator{t, h}
	h.quiet()
	h.heard()
	if err := h.e.SetRoom(o.ctx(), "sip:r@x.org", "key", "Other"); err != nil {
		t.Error(err)
	}
	settings, err := h.e.RoomSettings(o.ctx(), "sip:r@x.org")
	for _, s := range settings {
		if s.Name == "key" && (s.Value != "on" || !s.Set) {
			t.Errorf("it is shown as %+v", s)
		}
	}
	if err != nil {
		t.Error(err)
	}
	h.want(h.say("ines", "r", "#join r Other"), 200, 1)
}

// TestKeysQueue: so many keys wait to be compared, and no more. A hash that cannot be read lets nobody in.
func TestKeysQueue(t *testing.T) {
	k := newKeys()
	for range keysQueue {
		if !k.put(func() {}) {
			t.Fatal("the queue is full too soon")
		}
	}
	if k.put(func() {}) {
		t.Error("the queue has no bound")
	}
	if s, err := newSettings(map[string]string{"key": "no hash"}); err == nil || s.key == "" {
		t.Errorf("a bad hash is taken: %+v, %v", s, err)
	}
}
