package engine

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestNoticesSayWhen: a notice that was kept says when it happened, also if imcd was
// started again since.
func TestNoticesSayWhen(t *testing.T) {
	for name, restart := range map[string]bool{"the same imcd": false, "another": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newMemStore()
				h := startHouse(t, store, nil)
				h.say("alice", "r", "#create")
				h.say("alice", "r", "#add bob")
				h.answers("bob", result(480))
				happened := time.Now()
				h.say("alice", "r", "#remove bob")
				h.pass(time.Hour)
				if restart {
					h.close()
					h = startHouse(t, store, nil)
				}
				h.relay.take()
				h.answers("bob", result(200))
				h.e.Registered("sip:bob@x.org")
				h.pass(time.Second)
				copies := h.relay.take()
				want := "Date: " + happened.UTC().Format(sipDate) + "\r\n"
				if len(copies) != 1 || !strings.Contains(copies[0].headers, want) {
					t.Errorf("bob got %+v, want %q", copies, want)
				}
				h.close()
			})
		})
	}
}

// TestArrivalIsASign: what arrives in one room, without any other sign, makes the other
// rooms try again, too.
func TestArrivalIsASign(t *testing.T) {
	bubble(t, nil, func(h *house) {
		for _, room := range []string{"a", "b", "c"} {
			h.say("alice", room, "#create")
			h.say("bob", room, "#join")
		}
		h.answers("bob", result(480))
		for _, room := range []string{"a", "b", "c"} {
			h.say("alice", room, "while away")
		}
		h.pass(2 * time.Minute)
		h.answers("bob", result(200))
		h.relay.take()
		h.say("alice", "a", "again")
		h.pass(10 * time.Second)
		if got := strings.Join(h.sentTo(), ", "); strings.Count(got, "while away") != 3 {
			t.Errorf("bob was sent %s", got)
		}
	})
}

// TestNamesThatNobodySees: a display name of which nothing is to be seen is none.
func TestNamesThatNobodySees(t *testing.T) {
	for _, display := range []string{"", " ", "\u200b", "\u2060\u200e", "\u3164", "\u2800 "} {
		h := pair(t, nil)
		h.say(`"`+display+`" <sip:alice@x.org>`, "r", "GIF", "Content-Type: image/gif\r\n")
		copies := h.relay.take()
		if len(copies) != 2 || copies[0].body != "[alice] sent image/gif" || copies[1].from != `"alice" <sip:r@x.org>` {
			t.Errorf("%q: %+v", display, copies)
		}
	}
}
