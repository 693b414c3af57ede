package e2e

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"imcd/cmd/internal/convo"
	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest/kit"
)

// killsWanted is how often imcd is killed at least, on each database.
const killsWanted = 25

// TestKill9 plays conversations while imcd is killed (SIGKILL) between steps, and
// right after an answer, when nothing but what is durable can be left. What was
// answered must hold: every later step goes on as its text says.
func TestKill9(t *testing.T) {
	for _, database := range databases() {
		t.Run(database, func(t *testing.T) {
			t.Parallel()
			killAll(t, database, uint64(len(database)))
		})
	}
}

func killAll(t *testing.T, database string, seed uint64) {
	kills := make(map[convo.Crash]int)
	random := rand.New(rand.NewPCG(seed, 1))
	for _, group := range conversations(t) {
		group = slices.DeleteFunc(group, func(c *convo.Conversation) bool { return !worthKilling(c) })
		if len(group) == 0 {
			continue
		}
		r := &convo.Runner{Stack: start(t, database, stack.Options{Settings: group[0].Settings})}
		r.Crash = func(c *convo.Conversation, step int) convo.Crash {
			if step == 0 || random.IntN(5) > 0 {
				return convo.NoCrash
			}
			crash := convo.BeforeSay
			if random.IntN(2) == 0 {
				crash = convo.AfterReply
			}
			kills[crash]++
			return crash
		}
		for _, c := range group {
			if err := r.Run(kit.Within(t, 2*time.Minute), c); err != nil {
				t.Errorf("%v\n(seed %d)", err, seed)
			}
		}
	}
	t.Logf("%d kills between steps, %d right after an answer", kills[convo.BeforeSay], kills[convo.AfterReply])
	if n := kills[convo.BeforeSay] + kills[convo.AfterReply]; n < killsWanted {
		t.Errorf("only %d kills", n)
	}
}

// worthKilling leaves out conversations that change no state to speak of, and
// those that take long by themselves.
func worthKilling(c *convo.Conversation) bool {
	return slices.Contains([]string{"rooms.txt", "members.txt", "exit.txt", "invitations.txt"}, c.File) &&
		!strings.Contains(c.Title, "silent")
}
