package engine

import (
	"strings"
	"testing"

	"imcd/engine/store"
)

// wantNotice sends a command and compares the one notice for it.
func (h *house) wantNotice(from, room, command, want string) {
	h.t.Helper()
	h.relay.take()
	h.want(h.say(from, room, command), 200, 1)
	h.settled()
	if c := h.relay.take(); len(c) != 1 || c[0].body != want || !strings.HasPrefix(c[0].to, "sip:"+from+"@") {
		h.t.Errorf("%s: %+v\nwant %q", command, c, want)
	}
}

func TestSeen(t *testing.T) {
	h := newHouse(t, nil)
	h.roomOf("r", "bob", "carol", "dave")
	h.wantNotice("alice", "r", "#seen", "*** Nothing has been said in room r yet.")
	h.say("alice", "r", "#invite eve")
	h.relay.set(func() { h.relay.codes["dave"] = result(404) })
	one := h.copiesOf("alice", "r", "one")
	h.wantNotice("alice", "r", "#seen", "*** Your last message: delivered to 2 of 3, read by nobody yet")
	h.wantNotice("bob", "r", "#seen", "*** Last message, by alice: delivered to 2 of 3, read by nobody yet")
	h.receipt("carol", "r", imdn(one["carol"], "displayed"))
	h.receipt("bob", "r", imdn(one["bob"], "displayed"))
	h.wantNotice("alice", "r", "#SEEN", "*** Your last message: delivered to 2 of 3, read by 2: bob, carol")
	two := h.copiesOf("bob", "r", "two")
	h.receipt("alice", "r", imdn(two["alice"], "displayed"))
	h.wantNotice("alice", "r", "#seen", "*** Last message, by bob: delivered to 2 of 3, read by 1: alice\n"+
		"*** Your last message: delivered to 2 of 3, read by 2: bob, carol")

	// Who came later has missed nothing.
	h.want(h.say("frank", "r", "#join"), 200, 1)
	h.wantNotice("bob", "r", "#seen", "*** Your last message: delivered to 2 of 3, read by 1: alice")
	three := h.copiesOf("alice", "r", "three")
	h.receipt("frank", "r", imdn(three["frank"], "displayed"))
	h.wantNotice("frank", "r", "#seen", "*** Last message, by alice: delivered to 3 of 4, read by 1: frank")
	h.relay.take()
	h.want(h.say("bob", "r", "#seen 2"), 200, 1)
	h.settled()
	c := h.relay.take()
	lines := strings.Split(c[0].body, "\n")
	if len(lines) != 2 || !strings.HasSuffix(lines[0], " UTC, bob: delivered to 2 of 3, read by 1: alice") ||
		!strings.HasSuffix(lines[1], " UTC, alice: delivered to 3 of 4, read by 1: frank") {
		t.Errorf("%q", lines)
	}

	for _, bad := range []string{"#seen x", "#seen 0", "#seen -1", "#seen 1 2", "#seen 99999999999999999999"} {
		h.want(h.say("bob", "r", bad), 400, -150)
	}
	h.want(h.say("mallory", "r", "#seen"), 403, -152)
	h.want(h.say("mallory", "nowhere", "#seen"), 404, -151)
	h.relay.take()
	h.want(h.say("bob", "r", "#seen 1000"), 200, 1)
	h.settled()
	if n := strings.Count(h.relay.take()[0].body, "\n") + 1; n != 3 {
		t.Errorf("%d lines for 3 messages", n)
	}
}

// TestSeenOfMany: a line has some names only, and an answer some lines only.
func TestSeenOfMany(t *testing.T) {
	h := newHouse(t, nil)
	others := strings.Fields("a b c d e f g h i j k l m n o")
	h.roomOf("r", others...)
	var last map[string]string
	for range seenMost + 5 {
		last = h.copiesOf("alice", "r", "x")
	}
	for _, user := range others {
		h.receipt(user, "r", imdn(last[user], "displayed"))
	}
	h.wantNotice("a", "r", "#seen",
		"*** Last message, by alice: delivered to 15 of 15, read by 15: a, b, c, d, e, f, g, h, i, j, k, l …")
	h.relay.take()
	h.say("a", "r", "#seen 500")
	h.settled()
	if n := strings.Count(h.relay.take()[0].body, "\n") + 1; n != seenMost {
		t.Errorf("%d lines", n)
	}
}

// TestSeenAfterLosses: what a phone refused was not delivered.
func TestSeenAfterLosses(t *testing.T) {
	h := newHouse(t, nil)
	h.roomOf("r", "bob", "carol")
	h.relay.set(func() { h.relay.codes["bob"] = result(415) })
	h.copiesOf("alice", "r", "one")
	h.copiesOf("bob", "r", "mine")
	h.wantNotice("alice", "r", "#seen", "*** Last message, by bob: delivered to 2 of 2, read by nobody yet\n"+
		"*** Your last message: delivered to 1 of 2, read by nobody yet")
}

func TestNewcomersAreBounded(t *testing.T) {
	r := newRoom(store.Name{User: "r", Host: "x.org"}, 1)
	for range maxNewcomers + 3 {
		r.noteNewcomer(newMember(store.Name{User: "u", Host: "x.org"}, 0), 7)
	}
	if r.noteNewcomer(newMember(store.Name{User: "u", Host: "x.org"}, 0), 0); len(r.newcomers) != maxNewcomers {
		t.Errorf("%d newcomers", len(r.newcomers))
	}
}
