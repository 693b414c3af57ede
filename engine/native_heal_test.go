package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"imcd/evapi"
)

// number is that of the last request (house.ask); with one, that is set.
func (m *memStore) number(set ...int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(set) > 0 {
		m.serial = set[0]
	}
	return m.serial
}

// TestNativeCreatedTwice: imcd dies after it has made a group and before it has said so. The request, which Kamailio
// gives to the next imcd, makes no second group.
func TestNativeCreatedTwice(t *testing.T) {
	t.Parallel()
	kept := newMemStore()
	h := newNativeHouse(t, kept, nil)
	h.nativeFor("alice", "bob")
	n := kept.number()
	room := h.makes("alice", "Growers", "bob")
	h.close()
	again := newNativeHouse(t, kept, nil)
	again.nativeFor("alice", "bob")
	kept.number(n)
	if second := again.makes("alice", "Growers", "bob"); second != room {
		t.Errorf("the group is %s, and then %s", room, second)
	}
	v := newView(again)
	v.sees("alice", room, "Growers", "alice*", "bob")
	if rooms, err := again.e.Rooms(context.Background()); err != nil || len(rooms) != 1 {
		t.Errorf("there are %d rooms, %v", len(rooms), err)
	}
	kept.number(n)
	if second := again.makes("bob", "Growers", "alice"); second == room {
		t.Error("bob's group is alice's")
	}
}

// TestNativeAlien: a device that says it has a group in which its user is not loses it, and learns nothing of it. If it
// cannot be reached, nothing is kept of what it said.
func TestNativeAlien(t *testing.T) {
	t.Parallel()
	h, v, room := newGrowers(t, newMemStore(), []string{"alice", "mallory"}, "bob")
	v.sees("alice", room, "Growers", "alice*", "bob")
	list := func(rooms ...string) {
		t.Helper()
		if a := h.ask("SUBSCRIBE", "mallory", groupFactory, listOf(rooms...), "Event: conference\r\n",
			"Content-Type: application/resource-lists+xml\r\n"); a.Code != 200 {
			t.Errorf("answer %+v", a)
		}
	}
	list(room)
	var methods []string
	h.until("mallory is out", func() bool {
		for _, c := range h.relay.take() {
			if strings.Contains(c.headers+c.body, "Growers") {
				t.Errorf("%s to %s: %s%s", c.method, c.to, c.headers, c.body)
			}
			methods = append(methods, c.method)
		}
		return len(methods) > 0 && methods[len(methods)-1] == "BYE"
	})
	h.relay.set(func() { h.relay.phones = map[string][]string{"mallory": {}} })
	var none []string
	for i := range 100 {
		none = append(none, fmt.Sprintf("sip:chat-none%d@x.org", i))
	}
	list(append(none, room)...)
	h.until("one group is left", func() bool { return h.groupCount() == 1 })
}

// TestNativeBack: whoever is added again after the device was put out is in, also if the device had to be invited for
// that.
func TestNativeBack(t *testing.T) {
	t.Parallel()
	h, v, room := newGrowers(t, newMemStore(), []string{"alice", "bob"}, "bob")
	target := strings.TrimPrefix(room, "sip:")
	for _, code := range []int{200, 481} {
		v.sees("bob", room, "Growers", "alice*", "bob")
		h.relay.set(func() { h.relay.once["bob"] = evapi.Result{Code: code} })
		h.want(<-h.post("alice", target, "#remove bob"), 200, 1)
		v.isOut("bob", room)
		v.sees("alice", room, "Growers", "alice*")
		h.want(<-h.post("alice", target, "#add bob"), 200, 1)
		v.sees("alice", room, "Growers", "alice*", "bob")
	}
	v.sees("bob", room, "Growers", "alice*", "bob")
}

// TestNativeStartedAgain: a request is under way to where a client was before it was started again. What it was about
// is said again, though the client has registered, and sent its list, before that request failed.
func TestNativeStartedAgain(t *testing.T) {
	t.Parallel()
	h, v, room := newGrowers(t, newMemStore(), []string{"alice", "bob"}, "bob")
	v.sees("bob", room, "Growers", "alice*", "bob")
	h.relay.set(func() { h.relay.codes["bob"] = evapi.Result{} })
	h.want(<-h.post("alice", strings.TrimPrefix(room, "sip:"), "#set title Tomatoes"), 200, 1)
	lost := ""
	h.until("bob's client hears", func() bool {
		for _, c := range h.relay.take() {
			if c.method == "NOTIFY" && c.to == gruuOfUser("bob") {
				lost = c.callID
			}
		}
		return lost != ""
	})
	h.relay.set(func() { delete(h.relay.codes, "bob") })
	h.nativeFor("bob")
	h.e.Result(evapi.Result{CallID: lost, Code: 408})
	v.sees("bob", room, "Tomatoes", "alice*", "bob")
}

// TestNativeRegistersAgain: after a restart of imcd a client that registers once more hears the state of its rooms,
// once, though it sends no list of them.
func TestNativeRegistersAgain(t *testing.T) {
	t.Parallel()
	kept := newMemStore()
	h, v, room := newGrowers(t, kept, []string{"alice", "bob"}, "bob")
	v.sees("bob", room, "Growers", "alice*", "bob")
	h.relay.set(func() { h.relay.codes["bob"] = evapi.Result{} })
	h.want(<-h.post("alice", strings.TrimPrefix(room, "sip:"), "#set title Tomatoes"), 200, 1)
	h.close()
	v.h = newNativeHouse(t, kept, nil)
	v.h.nativeFor("bob")
	v.sees("bob", room, "Tomatoes", "alice*", "bob")
	v.h.nativeFor("bob")
	v.h.quiet()
	if again := v.h.relay.take(); len(again) > 0 {
		t.Errorf("bob got %+v", again)
	}
}

// TestNativeReplaced: a client that has a room and is invited once more, as after a kill of imcd at the wrong moment,
// ends the session that it had before. It does not leave by that; it leaves by the end of the new one, and by its own.
func TestNativeReplaced(t *testing.T) {
	t.Parallel()
	h, v, room := newGrowers(t, newMemStore(), []string{"alice", "bob", "dora"}, "bob", "dora")
	asked := make(map[string]string) // Call-IDs of INVITEs
	h.until("all are invited", func() bool {
		h.relay.set(func() {
			for _, c := range h.relay.copies {
				if c.method == "INVITE" {
					asked[c.to] = c.callID
				}
			}
		})
		return len(asked) == 2
	})
	for _, c := range []struct{ user, callID, members string }{
		{"bob", "004-0123456789-g5", "alice* bob dora"}, // an earlier imcd's
		{"bob", asked[gruuOfUser("bob")], "alice* dora"},
		{"dora", "xTv1-gz7Q", "alice*"}, // the client's own
	} {
		if a := h.askIn(c.callID, "BYE", c.user, room, ""); a.Code != 200 {
			t.Errorf("answer %+v", a)
		}
		v.sees("alice", room, "Growers", strings.Fields(c.members)...)
	}
}

// hears waits for a request of a method to a user's Linphone, takes it away, and returns its Call-ID.
func (h *house) hears(method, user string) (callID string) {
	h.t.Helper()
	h.until(method+" to "+user, func() bool {
		h.relay.set(func() {
			i := slices.IndexFunc(h.relay.copies, func(c got) bool { return c.method == method && c.to == gruuOfUser(user) })
			if i >= 0 {
				callID = h.relay.copies[i].callID
				h.relay.copies = slices.Delete(h.relay.copies, i, i+1)
			}
		})
		return callID != ""
	})
	return callID
}

// TestNativeUnasked: a client that was invited, and whose question for the state was lost with Kamailio, hears the
// state when it registers again.
func TestNativeUnasked(t *testing.T) {
	t.Parallel()
	h, v, room := newGrowers(t, newMemStore(), []string{"alice", "bob"}, "bob")
	session := h.hears("INVITE", "bob")
	h.quiet()
	h.nativeFor("bob")
	v.rooms["bob "+room] = &viewedRoom{in: true, session: session, users: map[string]bool{}}
	v.sees("bob", room, "Growers", "alice*", "bob")
}

// TestNativeUnlisted: a client names the rooms that it had when it was started, so its list lacks those that it came to
// since. Invited once more, it does not ask for the state, but hears what has changed meanwhile. The end of its session
// before was lost with Kamailio.
func TestNativeUnlisted(t *testing.T) {
	t.Parallel()
	h, v, room := newGrowers(t, newMemStore(), []string{"alice", "bob"}, "bob")
	v.sees("bob", room, "Growers", "alice*", "bob")
	h.relay.set(func() { h.relay.codes["bob"] = evapi.Result{} })
	if a := h.ask("SUBSCRIBE", "bob", groupFactory, listOf(), "Event: conference\r\n",
		"Content-Type: application/resource-lists+xml\r\n"); a.Code != 200 {
		t.Fatalf("answer %+v", a)
	}
	session := h.hears("INVITE", "bob")
	h.want(<-h.post("alice", strings.TrimPrefix(room, "sip:"), "#set title Tomatoes"), 200, 1)
	v.sees("alice", room, "Tomatoes", "alice*", "bob")
	h.relay.set(func() { delete(h.relay.codes, "bob") })
	v.rooms["bob "+room].session = session
	h.e.Result(evapi.Result{CallID: session, Code: 200, Dialog: &evapi.Dialog{}})
	v.sees("bob", room, "Tomatoes", "alice*", "bob")
}

// roomIn is the room that an answer names.
func roomIn(a evapi.Answer) string {
	_, room, _ := strings.Cut(a.Headers, "Contact: <")
	room, _, _ = strings.Cut(room, ">")
	return room
}

// TestNativeMakerStays: also the maker's list lacks the new room. The maker's client ends the session of the creation,
// which another imcd may have carried out, when it is invited. It does not leave by that, but by the end of its new
// session.
func TestNativeMakerStays(t *testing.T) {
	t.Parallel()
	kept := newMemStore()
	h := newNativeHouse(t, kept, nil)
	h.nativeFor("alice", "bob")
	const made = "xTv1-gz7Q"
	session := ""
	a := h.askIn(made, "INVITE", "alice", groupFactory, listOf("bob"), "Subject: Growers\r\n",
		"Content-Type: application/resource-lists+xml\r\n")
	room := roomIn(a)
	for _, restarts := range []bool{false, true} {
		v := newView(h)
		h.ask("SUBSCRIBE", "alice", room, "", "Event: conference\r\n", "Expires: 600\r\n")
		v.sees("alice", room, "Growers", "alice*", "bob")
		if restarts {
			h.close()
			h = newNativeHouse(t, kept, nil)
			h.nativeFor("bob")
			v.h = h
		}
		v.rooms["alice "+room].session = made
		h.ask("SUBSCRIBE", "alice", groupFactory, listOf(), "Event: conference\r\n",
			"Content-Type: application/resource-lists+xml\r\n")
		h.until("alice's client has another session", func() bool {
			v.look()
			session = v.rooms["alice "+room].session
			return session != made
		})
		if a := h.ask("SUBSCRIBE", "alice", room, "", "Event: conference\r\n"); a.Code != 200 {
			t.Errorf("alice has left: %+v", a)
		}
	}
	h.askIn(session, "BYE", "alice", room, "")
	if a := h.ask("SUBSCRIBE", "alice", room, "", "Event: conference\r\n"); a.Code != 403 {
		t.Errorf("alice has not left: %+v", a)
	}
}

// TestNativeMakerLeaves: the maker leaves right after another device of the maker was invited.
func TestNativeMakerLeaves(t *testing.T) {
	t.Parallel()
	h := newNativeHouse(t, newMemStore(), nil)
	h.nativeFor("alice", "bob")
	h.e.Devices(evapi.Registration{AOR: "sip:alice@x.org", Devices: []evapi.Device{{Contact: "sip:alice@127.0.0.1:6",
		Instance: "urn:uuid:alice2", Specs: nativeLinphone, Left: time.Hour}}})
	a := h.askIn("xTv1-gz7Q", "INVITE", "alice", groupFactory, listOf("bob"), "Subject: Growers\r\n",
		"Content-Type: application/resource-lists+xml\r\n")
	room := roomIn(a)
	h.hears("INVITE", "bob")
	h.quiet()
	h.askIn("xTv1-gz7Q", "BYE", "alice", room, "")
	if a := h.ask("SUBSCRIBE", "alice", room, "", "Event: conference\r\n"); a.Code != 403 {
		t.Errorf("alice has not left: %+v", a)
	}
}

// TestNativeReplacing: imcd believes that a client does not have a room, and invites it. By the end of the session that
// the client had before imcd learns that it will not ask, and that it may have missed a change.
func TestNativeReplacing(t *testing.T) {
	t.Parallel()
	h, v, room := newGrowers(t, newMemStore(), []string{"alice", "bob"}, "bob")
	v.sees("bob", room, "Growers", "alice*", "bob")
	h.relay.set(func() { h.relay.once["bob"] = evapi.Result{Code: 481} })
	h.want(<-h.post("alice", strings.TrimPrefix(room, "sip:"), "#set title Tomatoes"), 200, 1)
	h.hears("NOTIFY", "bob")
	v.sees("bob", room, "Tomatoes", "alice*", "bob")
}

// TestNativeTitleStored: Linphone does not store a title that comes with the whole state of a room that it has. So it
// hears the title as a change, and shows it also when it is started again. A title that never changed costs nothing.
func TestNativeTitleStored(t *testing.T) {
	t.Parallel()
	h, v, room := newGrowers(t, newMemStore(), []string{"alice", "bob", "carol"}, "bob")
	v.sees("bob", room, "Growers", "alice*", "bob")
	target := strings.TrimPrefix(room, "sip:")
	state := func() (documents int) {
		h.ask("SUBSCRIBE", "bob", room, "", "Event: conference\r\n", "Expires: 600\r\n")
		h.hears("NOTIFY", "bob")
		h.quiet()
		return 1 + len(h.relay.take())
	}
	if n := state(); n != 1 {
		t.Errorf("the whole state is %d documents", n)
	}
	h.want(<-h.post("alice", target, "#set title Tomatoes"), 200, 1)
	v.sees("bob", room, "Tomatoes", "alice*", "bob")
	v.rooms["bob "+room].title, v.rooms["bob "+room].stored = "Growers", "Growers"
	h.ask("SUBSCRIBE", "bob", room, "", "Event: conference\r\n", "Expires: 600\r\n")
	v.sees("bob", room, "Tomatoes", "alice*", "bob")
	h.want(<-h.post("alice", target, "#add carol"), 200, 1)
	v.sees("bob", room, "Tomatoes", "alice*", "bob", "carol")
	v.sees("carol", room, "Tomatoes", "alice*", "bob", "carol")
}

// TestNativeForgotten: a client was killed before it stored a new room. Started again it answers 200 to NOTIFYs for
// that room, though it does not know it, and it sends no list because it has no room. It is invited once more.
func TestNativeForgotten(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		user string
		dies func(h *house, room string)
	}{
		"before it asked":             {"bob", func(h *house, _ string) { h.hears("INVITE", "bob") }},
		"before it asked for its own": {"alice", func(*house, string) {}},
		"before it heard what it asked": {"bob", func(h *house, room string) {
			h.hears("INVITE", "bob")
			h.quiet()
			h.relay.set(func() { h.relay.codes["bob"] = evapi.Result{} })
			h.ask("SUBSCRIBE", "bob", room, "", "Event: conference\r\n", "Expires: 600\r\n")
			lost := h.hears("NOTIFY", "bob")
			h.relay.set(func() { delete(h.relay.codes, "bob") })
			h.e.Result(evapi.Result{CallID: lost, Code: 408})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newNativeHouse(t, newMemStore(), nil)
			h.nativeFor("alice", "bob")
			a := h.ask("INVITE", "alice", groupFactory, listOf("bob"), "Subject: Growers\r\n",
				"Content-Type: application/resource-lists+xml\r\n")
			room := roomIn(a)
			c.dies(h, room)
			h.quiet()
			h.relay.take()
			v := newView(h)
			v.rooms[c.user+" "+room] = &viewedRoom{unknown: true, users: map[string]bool{}}
			h.nativeFor(c.user)
			v.sees(c.user, room, "Growers", "alice*", "bob")
		})
	}
}
