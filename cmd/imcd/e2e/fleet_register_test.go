package e2e

import (
	"slices"
	"testing"
	"time"

	"imcd/cmd/internal/stack"
	"imcd/engine"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// TestFleetRegistersElsewhere: a member comes back at the host whose imcd does not have the rooms, and gets at once
// what was said meanwhile.
func TestFleetRegistersElsewhere(t *testing.T) {
	t.Parallel()
	const room = "chat-elsewhere"
	url := schematest.NewDatabase(t)
	hosts := twoHosts(t, func(int) string { return url })
	alice := hostAgent(t, hosts[0], "alice")
	bob := hostAgent(t, hosts[1], "bob")
	mustSay(t, alice, "alice", room, "#create")
	mustSay(t, alice, "bob", room, "#join") // bob's phone is not registered
	said := []string{"where are you?"}
	mustSay(t, alice, "alice", room, said[0])
	awaitOffline(t, hosts[0], room, "bob")
	if err := bob.Register(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	kit.Eventually(t, "bob has everything", func() bool { return has(bob, said) })
	t.Logf("bob has everything after %v", time.Since(began).Round(time.Millisecond))
}

// awaitOffline waits until a member is found to have no phone, and is tried again only much later.
func awaitOffline(t *testing.T, s *stack.Stack, room, user string) {
	t.Helper()
	kit.Eventually(t, user+" is found to be offline", func() bool {
		var r engine.RoomDetail
		if err := s.Call(kit.Context(t), "imc.room_info", []string{roomURI(room)}, &r); err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(r.Members, func(m engine.MemberDetail) bool {
			return m.User == userURI(user) && m.StateCode == engine.StateOffline && m.Lag > 0 && m.NextTry != nil &&
				time.Until(*m.NextTry) > time.Minute
		})
	})
}

// has reports whether somebody got all texts of alice.
func has(u *evapitest.UA, texts []string) bool {
	var got []string
	for _, m := range u.Received() {
		got = append(got, m.Text())
	}
	return !slices.ContainsFunc(texts, func(text string) bool { return !slices.Contains(got, "[alice]: "+text) })
}

// hostAgent is a phone that a Kamailio other than its own may send something to.
func hostAgent(t *testing.T, s *stack.Stack, name string) *evapitest.UA {
	t.Helper()
	u, err := s.Agent(evapitest.UAConfig{User: name, Domain: chatHost, AnswerVia: true})
	if err != nil {
		t.Fatal(err)
	}
	return u
}
