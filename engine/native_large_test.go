package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestNativeLarge: in a room of 1000 of which 100 have Linphone, a title costs each Linphone one request, and so do all
// who come and go within the window of a large room; nobody else gets any. No request is longer than a datagram takes.
func TestNativeLarge(t *testing.T) {
	t.Parallel()
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
	count := func(what string, done func(requests, devices int) bool) (requests, devices int) {
		t.Helper()
		to := make(map[string]bool)
		h.until(what, func() bool {
			<-tick.C
			for _, c := range h.relay.take() {
				if c.method == "MESSAGE" {
					continue
				}
				if requests++; len(c.body) > 60000 || !strings.Contains(c.to, ";gr=") {
					t.Errorf("%s of %d bytes to %s", c.method, len(c.body), c.to)
				}
				to[c.to] = true
				if c.method == "INVITE" {
					user, _, _ := strings.Cut(strings.TrimPrefix(c.to, "sip:"), "@")
					h.ask("SUBSCRIBE", user, room, "", "Event: conference\r\n")
				}
			}
			devices = len(to)
			return done(requests, devices)
		})
		return requests, devices
	}
	// An INVITE and the whole state for each, alice has invited herself.
	count("all have the room", func(n, devices int) bool { return devices == natives && n >= 2*natives-1 })
	h.quiet()
	h.relay.take()
	h.want(<-h.post("alice", target, "#set title Tomatoes"), 200, 1)
	count("the title", func(n, devices int) bool { return devices == natives })
	for i := range 30 {
		h.want(<-h.post("alice", target, fmt.Sprint("#remove user", 900+i)), 200, 1)
		h.want(<-h.post("alice", target, fmt.Sprint("#add sip:new", i, "@x.org")), 200, 1)
	}
	n, _ := count("who comes and goes", func(n, devices int) bool { return devices == natives })
	h.quiet()
	more, _ := count("no more", func(int, int) bool { return true })
	if n+more > 2*natives {
		t.Errorf("60 changes took %d requests", n+more)
	}
}
