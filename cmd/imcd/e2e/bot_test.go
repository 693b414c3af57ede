package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// TestEchoBot: the bot of testdata/echobot is a member as others are: it joins,
// hears and speaks, and gets what was said while it was away, in order.
func TestEchoBot(t *testing.T) {
	program := filepath.Join(t.TempDir(), "echobot")
	if out, err := exec.CommandContext(kit.Within(t, 2*time.Minute), "go", "build", "-buildvcs=false", "-o", program,
		"imcd/testdata/echobot").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const token = "a-token-of-some-length"
	s := start(t, "sqlite", stack.Options{Settings: map[string]string{"bots": "sip:echo@127.0.0.1",
		"rpc_token": token}})
	alice, room := agent(t, s, "alice"), "sip:chat-bots@127.0.0.1"
	speak(t, alice, at(s, room), "#create")
	bot := launchBot(t, s, program, token, room)
	hears(t, alice, "*** echo has joined the room.")
	speak(t, alice, at(s, room), "hello")
	hears(t, alice, "[echo]: hello")

	if err := bot.Kill(); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		speak(t, alice, at(s, room), fmt.Sprintf("while you were away %d", n))
	}
	launchBot(t, s, program, token)
	hears(t, alice, "[echo]: while you were away 0", "[echo]: while you were away 1", "[echo]: while you were away 2")
	speak(t, alice, at(s, room), "#remove echo")
	hears(t, alice, "*** echo was removed")
}

func launchBot(t *testing.T, s *stack.Stack, program, token string, rooms ...string) *stack.Child {
	t.Helper()
	bot, err := stack.StartChild(stack.Command{Path: program, Env: []string{"IMCD_RPC_TOKEN=" + token},
		Args: append([]string{"-url", "ws://" + s.HTTPAddr() + "/ws", "-name", "sip:echo@127.0.0.1"}, rooms...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bot.Kill(); err != nil {
			t.Error(err)
		}
	})
	return bot
}

// at is the address at which Kamailio takes what is for a room.
func at(s *stack.Stack, room string) string {
	_, port, _ := strings.Cut(s.Kamailio().SIPAddr(), ":")
	return room + ":" + port
}

// hears waits until a user agent gets these texts, or longer ones that begin so, in
// this order.
func hears(t *testing.T, u *evapitest.UA, texts ...string) {
	t.Helper()
	got, err := u.Wait(kit.Context(t), func(all []evapitest.Received) bool {
		missing := texts
		for _, r := range all {
			if len(missing) > 0 && strings.HasPrefix(r.Text(), missing[0]) {
				missing = missing[1:]
			}
		}
		return len(missing) == 0
	})
	if err != nil {
		for _, r := range got {
			t.Logf("got %q", r.Text())
		}
		t.Fatalf("%v: not heard: %q", err, texts)
	}
}
