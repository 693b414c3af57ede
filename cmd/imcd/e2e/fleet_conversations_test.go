package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"imcd/cmd/internal/convo"
	"imcd/cmd/internal/stack"
	"imcd/cmd/internal/stack/stacktest"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// startShared starts three imcd that share the rooms of a database, two beside one Kamailio and one beside another.
// opts are options of all, and of both Kamailios.
func startShared(t *testing.T, opts stack.Options) *fleet {
	t.Helper()
	kamailios, err := stack.Hosts(2)
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{}
	local := opts.Kamailio.IMCLocal
	opts.Spare = true // each may be ready before it has a part of the rooms
	for i, n := range []int{0, 0, 1} {
		k := controlled(kamailios[n])
		k.IMCLocal += local
		opts.Kamailio, opts.Beside = convo.WithRC(k, k.Config), nil
		if i == 1 {
			opts.Beside = f.imcd[0]
		}
		f.imcd = append(f.imcd, stacktest.Start(t, opts))
	}
	f.shares(t, 22, 21, 21)
	return f
}

// located waits until both Kamailios know where a user is, or that nobody knows.
func (f *fleet) located(ctx context.Context, user string, registered bool) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, s := range []*stack.Stack{f.imcd[0], f.imcd[2]} {
		socket := filepath.Join(s.Kamailio().Dir(), "kamailio_ctl")
		for {
			// kamcmd exits with 0 after an error as well.
			out, err := exec.CommandContext(ctx, "kamcmd", "-s", socket, "ul.lookup", "location", user).CombinedOutput()
			if err == nil && strings.HasPrefix(string(out), "error") != registered {
				break
			}
			if stack.Pause(ctx, 5*time.Millisecond) != nil {
				return fmt.Errorf("waiting until both Kamailios know whether %s is registered: %v\n%s", user, err, out)
			}
		}
	}
	return nil
}

// forTestFleet skips what takes minutes and has a target of its own, make test-fleet.
func forTestFleet(t *testing.T) {
	t.Helper()
	if os.Getenv("IMCD_FLEET") == "" {
		t.Skip("it takes four minutes: make test-fleet sets IMCD_FLEET")
	}
}

// TestFleetConversations plays everything in testdata/conversations at three imcd that share the rooms, with users at
// two Kamailios: most commands come to a Kamailio, or an imcd, that does not have the room.
func TestFleetConversations(t *testing.T) {
	forTestFleet(t)
	t.Parallel()
	for _, group := range conversations(t) {
		if countsSenders(group[0]) {
			continue
		}
		t.Run(group[0].Config(), func(t *testing.T) {
			t.Parallel()
			f := startShared(t, stack.Options{Binary: plain.Path(t), DBURL: schematest.NewDatabase(t),
				Settings: group[0].Settings})
			r := &convo.Runner{Stack: f.imcd[0], Beside: f.imcd[1:], Located: f.located, Silence: silence(f.imcd[0])}
			for _, c := range slices.DeleteFunc(group, otherInAFleet) {
				t.Run(c.Title, func(t *testing.T) {
					if err := r.Run(kit.Within(t, 2*time.Minute), c); err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}

// countsSenders reports whether a conversation is about what one user may do in all rooms together. Each imcd counts
// for its own rooms, so that a user may do more in a fleet.
func countsSenders(c *convo.Conversation) bool {
	for key := range c.Settings {
		if strings.HasPrefix(key, "rate_sender_") || key == "max_rooms_per_user" {
			return true
		}
	}
	return false
}

// otherInAFleet reports whether a conversation goes otherwise in a fleet: it has a message that imcd answers, and
// Kamailio does not pass on to another host (kamailio-cfg/README.md); or it has a phone that never answers, of whose
// registration the imcd at the other host hears up to 0.3 s later, so that it repeats the invitation.
func otherInAFleet(c *convo.Conversation) bool {
	return c.Title == "The invited user's phone is silent" ||
		slices.ContainsFunc(c.Steps, func(s convo.Step) bool { return len(s.Request.Body) >= 48000 })
}
