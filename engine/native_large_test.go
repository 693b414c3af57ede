package engine

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestNativeLarge: in a room of 1000 of which 100 have Linphone, a title costs each Linphone one request, and so do all
// who come and go within the window of a large room; nobody else gets any. No request is longer than a datagram takes.
func TestNativeLarge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, testNativeLarge) // a busy machine has more of those windows
}

func testNativeLarge(t *testing.T) {
	const members, natives = 1000, 100
	h := newNativeHouse(t, newMemStore(), nil)
	var users []string
	for i := range members - 1 {
		users = append(users, fmt.Sprintf("user%03d", i))
	}
	with := append([]string{"alice"}, users[:natives-1]...)
	h.nativeFor(with...)
	room := h.makes("alice", "Growers", users...)
	target := strings.TrimPrefix(room, "sip:")
	tick := time.NewTicker(20 * time.Millisecond) // the windows of large rooms are long
	defer tick.Stop()
	// requests counts those that devices get until each has the word.
	requests := func(word string) (n int) {
		t.Helper()
		to := make(map[string]bool)
		for late := time.After(2 * time.Minute); len(to) < natives; {
			select {
			case <-tick.C:
			case <-late:
				t.Fatalf("%d of %d devices have %s", len(to), natives, word)
			}
			for _, c := range h.relay.take() {
				if c.method == "MESSAGE" {
					continue
				}
				if n++; len(c.body) > 60000 || !strings.Contains(c.to, ";gr=") {
					t.Errorf("%s of %d bytes to %s", c.method, len(c.body), c.to)
				}
				if c.method == "INVITE" {
					user, _, _ := strings.Cut(strings.TrimPrefix(c.to, "sip:"), "@")
					h.want(h.subscribes(user, room), 200, 1)
				}
				// A packed one is the whole state. The fake relay cannot read it.
				if c.method == "NOTIFY" && (strings.Contains(c.body, word) || strings.Contains(c.headers, "deflate")) {
					to[c.to] = true
				}
			}
		}
		t.Logf("%d requests to %d devices until all have %s", n, len(to), word)
		return n
	}
	if n := requests("Growers"); n > 3*natives { // an INVITE, the whole state, and one for what came together
		t.Errorf("the room took %d requests", n)
	}
	h.want(<-h.post("alice", target, "#set title Tomatoes"), 200, 1)
	if n := requests("Tomatoes"); n > 2*natives { // and what was left of the beginning
		t.Errorf("a title took %d requests", n)
	}
	for i := range 30 {
		h.want(<-h.post("alice", target, fmt.Sprint("#remove user", 900+i)), 200, 1)
		h.want(<-h.post("alice", target, fmt.Sprint("#add sip:new", i, "@x.org")), 200, 1)
	}
	h.want(<-h.post("alice", target, "#set title Peppers"), 200, 1)
	if n := requests("Peppers"); n > 2*natives {
		t.Errorf("60 changes took %d requests", n)
	}
}
