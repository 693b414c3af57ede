package engine

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

// hooked returns the stored events as text, of kinds that want names; empty: of all.
func (h *house) hooked(want string) (all []string) {
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	for _, row := range h.store.events {
		var i EventInfo
		if err := json.Unmarshal(row.Event, &i); err != nil {
			h.t.Fatal(err)
		}
		if want != "" && i.Event != want {
			continue
		}
		words := []string{i.Event}
		for _, w := range []string{i.Title, i.Sender, i.User, i.Member, i.By, i.Act, i.Why, i.Role, i.Outcome} {
			if w != "" {
				words = append(words, strings.TrimSuffix(strings.TrimPrefix(w, "sip:"), "@x.org"))
			}
		}
		for _, n := range []uint64{i.Seq, i.Count, uint64(i.Code)} {
			if n > 0 {
				words = append(words, fmt.Sprint(n))
			}
		}
		if i.BodyInfo != nil {
			words = append(words, i.Body)
		}
		all = append(all, strings.Join(words, " "))
	}
	return all
}

func allWebhookKinds(c *Config) {
	for _, w := range webhookWords {
		c.WebhookEvents |= w.kinds
	}
}

// TestWebhookEvents: what happens is stored in the commit that it is about, in its order.
func TestWebhookEvents(t *testing.T) {
	h := newHouse(t, func(c *Config) { allWebhookKinds(c); c.WebhookBodies = true })
	for _, c := range []struct{ from, body string }{{"alice", "#create"}, {"bob", "#join"}, {"carl", "not a member"},
		{"bob", "hello"}, {"alice", "#modify bob admin"}, {"alice", "#mute bob 10m too loud"}, {"alice", "#remove bob"},
		{"alice", "#ban *@spam.example"}, {"alice", "#destroy"}} {
		h.say(c.from, "r", c.body)
	}
	h.close()
	want := []string{"room_created alice alice", "join alice alice owner", "join bob bob member", "message bob 1 hello",
		"act bob alice role admin", "role bob alice admin", "act bob alice mute too loud", "leave bob alice",
		"act bob alice remove", "act *@spam.example alice ban", "act alice destroy", "room_destroyed alice"}
	got := h.hooked("")
	if !slices.Equal(got, want) {
		t.Errorf("events are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestWebhookOff: nothing is stored without a receiver, or after it has said that it is gone.
func TestWebhookOff(t *testing.T) {
	for _, off := range []bool{false, true} {
		h := newHouse(t, func(c *Config) {
			if off {
				allWebhookKinds(c)
			}
		})
		h.e.StopWebhook()
		h.say("alice", "r", "#create")
		h.say("alice", "r", "hello")
		if got := h.hooked(""); len(got) > 0 {
			t.Errorf("events %v", got)
		}
	}
}

// speak sends a message to room r, and lets a moment pass.
func (h *house) speak(from, body string) {
	<-h.post(from, "r@x.org", body)
	pass(time.Second)
}

// TestMissed: a member without a device is said to have missed something, once in webhook_quiet and again if there is
// more by then; nobody who has a device is, and nobody who is back.
func TestMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, allWebhookKinds)
		for _, user := range []string{"alice", "bob", "carl"} {
			h.speak(user, "#join")
		}
		h.speak("alice", "#set title The garden")
		h.relay.set(func() { h.relay.codes["bob"] = evapi.Result{Code: 404} })
		expect := func(when string, want ...string) {
			t.Helper()
			pass(2 * time.Second)
			if got := h.hooked("missed"); strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("%s: missed\n%s\nwant\n%s", when, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		h.speak("alice", "one")
		first := "missed The garden bob 1 1 404"
		expect("after the first message", first)
		h.speak("carl", "two")
		h.speak("carl", "three")
		expect("while it is quiet", first)
		pass(30 * time.Second)
		second := "missed The garden bob 3 3 404"
		expect("after that", first, second)
		pass(5 * time.Minute)
		expect("without anything new", first, second)
		h.speak("carl", "four")
		third := "missed The garden bob 4 4 404"
		expect("with something new", first, second, third)
		h.relay.set(func() { delete(h.relay.codes, "bob") })
		h.e.Registered("sip:bob@x.org")
		pass(time.Minute)
		h.speak("carl", "five")
		expect("when it is back", first, second, third)
		if got := h.hooked("failure"); len(got) != 1 || got[0] != "failure bob offline 1 404" {
			t.Errorf("failures %v: one for the first of several tries", got)
		}
		h.close()
	})
}

// TestWebhookWhileDatabaseIsAway: what happens without a commit of its own is stored later.
func TestWebhookWhileDatabaseIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, allWebhookKinds)
		h.speak("alice", "#create")
		h.speak("bob", "#join")
		h.relay.set(func() { h.relay.codes["bob"] = evapi.Result{Code: 404} })
		h.store.mu.Lock()
		fails := 5
		h.store.fail = func(changes []store.Change) (error, bool) {
			for _, c := range changes {
				if c.Op == store.PutEvent && strings.Contains(string(c.Event.Event), "missed") && fails > 0 {
					fails--
					return store.ErrUnavailable, false
				}
			}
			return nil, true
		}
		h.store.mu.Unlock()
		h.speak("alice", "one")
		pass(time.Minute)
		if got := h.hooked("missed"); len(got) != 1 || fails > 0 {
			t.Errorf("missed %v, %d failures are left", got, fails)
		}
		h.close()
	})
}
