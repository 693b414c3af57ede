package phones

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// worstRoom: a room full of bad phones. The good ones get everything once, in order and
// quickly.
func worstRoom(t *testing.T, s *site) {
	const room = "sip:chat-worst@" + domain
	owner := s.agent(t, "gus")
	var bad []*evapitest.Phone
	good := []*evapitest.UA{s.agent(t, "hal"), s.agent(t, "ida")}
	says(t, owner, room, "#create")
	for _, u := range good {
		says(t, u, room, "#join")
	}
	for _, m := range evapitest.Worst() {
		if m.Echo {
			continue // it would answer the other machine, without end
		}
		cfg := evapitest.UAConfig{User: "worst-" + m.Name}
		if m.Hangup {
			cfg.Transport, cfg.LocalIP = "tcp", "127.0.0.3"
		}
		p := s.phone(t, cfg, m)
		says(t, owner, room, "#add "+cfg.User)
		bad = append(bad, p)
	}
	const n = 20
	started := time.Now()
	for i := range n {
		says(t, owner, room, fmt.Sprintf("text %d", i))
	}
	for _, u := range good {
		has := func(all []evapitest.Received) bool { return len(saidBy("gus", all)) >= n }
		all, err := u.Wait(kit.Within(t, 5*time.Second), has)
		if err != nil {
			t.Fatalf("%s has %d of %d after %v: %v", u.AOR(), len(saidBy("gus", all)), n, time.Since(started), err)
		}
		for i, text := range saidBy("gus", all) {
			if want := fmt.Sprintf("text %d", i); text != want {
				t.Errorf("%s got %q as number %d", u.AOR(), text, i)
			}
		}
		ids := make(map[string]bool)
		for _, r := range all {
			if ids[r.CallID] {
				t.Errorf("%s got %q twice", u.AOR(), r.Text())
			}
			ids[r.CallID] = true
		}
	}
	for _, p := range bad {
		if _, err := p.WaitN(kit.Within(t, 10*time.Second), 1); err != nil {
			t.Errorf("a bad phone is no member: %v", err)
		}
	}
	says(t, owner, room, "#destroy")
}

// saidBy are the texts of a room that a user has said.
func saidBy(user string, all []evapitest.Received) []string {
	var texts []string
	for _, r := range all {
		if text, ok := strings.CutPrefix(r.Text(), "["+user+"]: "); ok {
			texts = append(texts, text)
		}
	}
	return slices.Clip(texts)
}
