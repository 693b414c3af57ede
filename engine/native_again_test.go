package engine

import (
	"strings"
	"testing"
	"time"

	"imcd/evapi"
)

// shows is what a client shows of a room: its title, and the members.
func (v *clientView) shows(user, room string) string {
	r := v.rooms[user+" "+room]
	if r == nil || !r.in {
		return ""
	}
	return r.title + ": " + strings.Join(r.members(), " ")
}

// passes lets time pass, and clients act. The clock is that of a bubble.
func (v *clientView) passes(d time.Duration) {
	for range d / tick {
		pass(tick)
		v.look()
	}
}

// invited lets time pass, and counts the INVITEs to a user's client, which does not act.
func (h *house) invited(user string, d time.Duration) (n int) {
	pass(d)
	for _, c := range h.relay.take() {
		if c.method == "INVITE" && c.to == gruuOfUser(user) {
			n++
		}
	}
	return n
}

// TestNativeAgain: an INVITE without an answer, as when Kamailio is restarted meanwhile, is sent again a few times.
// After that the client has the room once it registers, or a Kamailio is connected.
func TestNativeAgain(t *testing.T) {
	t.Parallel()
	const long = 10 * time.Minute
	conn := &evapi.Conn{}
	registers := func(h *house) { h.nativeFor("bob") }
	restarted := func(h *house) { h.e.Lost(conn) }
	connected := func(h *house) { h.e.Wake() }
	full := func(h *house) {
		for _, s := range h.e.shards {
			onShard(s, func(s *shard) { s.groups.again.n = maxNativeTries })
		}
	}
	gone := func(h *house) {
		h.e.Devices(evapi.Registration{AOR: "sip:bob@x.org", Devices: []evapi.Device{{Contact: "sip:bob@127.0.0.1:5",
			Instance: "urn:uuid:bob", Specs: nativeLinphone}}})
	}
	for name, c := range map[string]struct {
		code    int // 0: there is no outcome
		before  func(h *house)
		fails   time.Duration // for how long requests fail
		invites int           // in that time
		heals   func(h *house)
		within  time.Duration
	}{
		"lost with Kamailio":    {fails: time.Second, invites: 1, heals: restarted, within: 3 * time.Second},
		"Kamailio is connected": {code: 503, fails: time.Second, invites: 1, heals: connected, within: time.Second},
		"no outcome":            {fails: long, invites: 4, heals: registers, within: time.Second},
		"no outcome once":       {fails: time.Second, invites: 1, within: 20 * time.Second},
		"no answer":             {code: 408, fails: long, invites: 4, heals: registers, within: time.Second},
		"no answer, connected":  {code: 408, fails: long, invites: 4, heals: connected, within: time.Second},
		"no answer for a while": {code: 408, fails: 11 * time.Second, invites: 3, within: 35 * time.Second},
		"not sent":              {code: 477, fails: long, invites: 4, heals: registers, within: time.Second},
		"not registered":        {code: 404, fails: long, invites: 1, heals: registers, within: time.Second},
		"registered no more":    {code: 408, before: gone, fails: long, invites: 1, heals: registers, within: time.Second},
		"too many wait":         {code: 408, before: full, fails: long, invites: 1, heals: registers, within: time.Second},
	} {
		inBubble(t, name, func(t *testing.T) {
			h := newNativeHouse(t, newMemStore(), nil)
			v := newView(h)
			h.nativeFor("alice", "bob")
			h.relay.set(func() {
				h.relay.conns = []*evapi.Conn{conn}
				h.relay.codes["bob"] = evapi.Result{Code: c.code}
			})
			if c.before != nil {
				h.relay.set(func() { h.relay.codes["bob"] = evapi.Result{} })
			}
			room := h.makes("alice", "Growers", "bob")
			n := 0
			if c.before != nil {
				pass(time.Second)
				callID := h.hears("INVITE", "bob")
				c.before(h)
				h.relay.set(func() { h.relay.codes["bob"] = evapi.Result{Code: c.code} })
				h.e.Result(evapi.Result{CallID: callID, Code: c.code})
				n++
			}
			if n += h.invited("bob", c.fails); n != c.invites {
				t.Errorf("%d INVITEs in %v, want %d", n, c.fails, c.invites)
			}
			h.relay.set(func() { delete(h.relay.codes, "bob") })
			if c.heals != nil {
				c.heals(h)
			}
			v.passes(c.within)
			if got, want := v.shows("bob", room), "Growers: alice* bob"; got != want {
				t.Errorf("bob sees %q, want %q", got, want)
			}
		})
	}
}

// TestNativeLeftUnheard: a client has left a room while Kamailio or imcd was restarted, so its BYE was lost. It shows
// the room as left, and names no rooms, as it had none when it was started. When it registers, it has the room again.
func TestNativeLeftUnheard(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cut, lists, full, invited bool
	}{
		"left":            {cut: true, invited: true},
		"has it":          {cut: true, lists: true},
		"nothing was cut": {},
		"too many":        {cut: true, full: true},
	} {
		inBubble(t, name, func(t *testing.T) {
			h, v, room := newGrowers(t, newMemStore(), []string{"alice", "bob"}, "bob")
			v.passes(time.Second)
			if c.cut {
				h.e.Wake()
			}
			*v.rooms["bob "+room] = viewedRoom{users: map[string]bool{}}
			for _, s := range h.e.shards {
				onShard(s, func(s *shard) {
					for range maxQuiet {
						if c.full {
							s.groups.quiet.add("sip:nobody@x.org", "", s.now.Add(time.Hour))
						}
					}
				})
			}
			h.nativeFor("bob")
			if c.lists {
				h.ask("SUBSCRIBE", "bob", groupFactory, listOf(room), "Event: conference\r\n",
					"Content-Type: application/resource-lists+xml\r\n")
			}
			v.passes(listWithin + time.Second)
			if got := v.rooms["bob "+room].session != ""; got != c.invited {
				t.Errorf("bob is invited: %v", got)
			}
			if got := v.shows("bob", room); c.invited && got != "Growers: alice* bob" {
				t.Errorf("bob sees %q", got)
			}
		})
	}
}
