package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"imcd/cmd/internal/stack"
	"imcd/engine/store"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	"imcd/schema"
)

const (
	crowdSize = 1000
	bigRoom   = "sip:chat-big@chat.example"
	smallRoom = "sip:chat-small@chat.example"
)

// crowd is a system with a room of crowdSize members besides its owner alice, all
// of whom are registered at one user agent, and a room with one of them.
type crowd struct {
	*stack.Stack
	alice, sink *evapitest.UA
}

func startCrowd(t *testing.T, settings map[string]string) *crowd {
	t.Helper()
	url := "sqlite://" + filepath.Join(t.TempDir(), "crowd.db")
	fill(t, url)
	c := &crowd{Stack: start(t, "sqlite", stack.Options{DBURL: url, Settings: settings})}
	ctx := kit.Context(t)
	var err error
	if c.alice, err = c.Agent(evapitest.UAConfig{User: "alice", Domain: "chat.example"}); err != nil {
		t.Fatal(err)
	}
	if c.sink, err = c.Agent(evapitest.UAConfig{User: "sink", Domain: "chat.example"}); err != nil {
		t.Fatal(err)
	}
	if err := c.alice.Register(ctx); err != nil {
		t.Fatal(err)
	}
	c.register(t, crowdSize)
	return c
}

// fill makes the rooms in the database.
func fill(t *testing.T, url string) {
	t.Helper()
	ctx := kit.Context(t)
	db, err := schema.Open(ctx, url, schema.Options{Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	var changes []store.Change
	for name, size := range map[string]int{"chat-big": crowdSize, "chat-small": 1} {
		room := store.Name{User: name, Host: "chat.example"}
		put := func(user string, flag int) {
			changes = append(changes, store.Change{Op: store.PutMember, Member: store.MemberRow{
				Room: room, User: store.Name{User: user, Host: "chat.example"}, Flag: flag}})
		}
		changes = append(changes, store.Change{Op: store.PutRoom, Room: store.RoomRow{Name: room}})
		put("alice", store.MemberOwner)
		for i := range size {
			put(memberName(i), 0)
		}
	}
	if err := db.Commit(ctx, store.Fence{}, changes); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func memberName(i int) string { return fmt.Sprintf("member%d", i) }

// register registers the first n members at the sink's contact.
func (c *crowd) register(t *testing.T, n int) {
	t.Helper()
	ctx := kit.Context(t)
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := worker; i < n; i += 4 {
				aor := "sip:" + memberName(i) + "@chat.example"
				res, err := c.sink.Do(ctx, evapitest.Request{Method: "REGISTER", URI: "sip:chat.example", To: aor,
					From: "<" + aor + ">", Headers: []string{"Contact: <" + c.sink.Contact() + ">", "Expires: 3600"}})
				if err != nil || res.StatusCode != 200 {
					t.Errorf("register %s: %v %v", aor, res, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// say lets alice say something and returns when she had her reply.
func (c *crowd) say(t *testing.T, room, text string) (took time.Duration, replied time.Time) {
	t.Helper()
	began := time.Now()
	res, err := c.alice.Say(kit.Context(t), room, text)
	replied = time.Now()
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%s: %v %v", text, res, err)
	}
	return replied.Sub(began), replied
}

// copies returns when which member got the text, first copies only, and how many
// further copies came with the Call-ID of an earlier one and with a new one.
func (c *crowd) copies(text string) (at map[string]time.Time, repeated, twice int) {
	at = make(map[string]time.Time)
	ids := make(map[string]bool)
	for _, m := range c.sink.Received() {
		if !strings.HasSuffix(m.Text(), text) {
			continue
		}
		_, seen := at[m.To]
		switch {
		case !seen:
			at[m.To] = m.At
		case ids[m.CallID]:
			repeated++
		default:
			twice++
		}
		ids[m.CallID] = true
	}
	return at, repeated, twice
}

// TestFanOut: the sender's reply does not wait for the copies, and each of 1000
// members gets each message exactly once and in order.
func TestFanOut(t *testing.T) {
	c := startCrowd(t, nil)
	ctx := kit.Within(t, 2*time.Minute)
	var small, big []time.Duration
	const rounds = 9
	for range rounds {
		took, _ := c.say(t, smallRoom, "to one")
		small = append(small, took)
	}
	var whole time.Duration
	for round := range rounds {
		text := fmt.Sprintf("to all, number %d.", round)
		took, replied := c.say(t, bigRoom, text)
		big = append(big, took)
		if err := c.Idle(ctx); err != nil {
			t.Fatal(err)
		}
		at, repeated, twice := c.copies(text)
		before := 0
		for _, when := range at {
			if when.Before(replied) {
				before++
			}
			whole = max(whole, when.Sub(replied))
		}
		if len(at) != crowdSize || repeated > 0 || twice > 0 {
			t.Errorf("%q: %d members have it, %d and %d copies too many", text, len(at), repeated, twice)
		}
		if before > crowdSize/2 {
			t.Errorf("%q: %d of %d members had it before its sender had the reply", text, before, crowdSize)
		}
	}
	slices.Sort(small)
	slices.Sort(big)
	t.Logf("reply after %v with %d members, %v with 1; all copies at most %v after the reply",
		big[rounds/2], crowdSize, small[rounds/2], whole)
	if big[rounds/2] > 20*small[rounds/2] {
		t.Errorf("the sender waits %v with %d members, %v with 1", big[rounds/2], crowdSize, small[rounds/2])
	}
}

// TestFanOutOrder: a burst of messages reaches every member in the order in which
// they were answered.
func TestFanOutOrder(t *testing.T) {
	c := startCrowd(t, nil)
	const burst = 5
	for i := range burst {
		c.say(t, bigRoom, fmt.Sprintf("burst %d", i))
	}
	if err := c.Idle(kit.Within(t, 2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	next := make(map[string]int)
	for _, m := range c.sink.Received() {
		if want := fmt.Sprintf("burst %d", next[m.To]); !strings.HasSuffix(m.Text(), want) {
			t.Fatalf("%s received %q instead of %q", m.To, m.Text(), want)
		}
		next[m.To]++
	}
	for i := range crowdSize {
		if n := next["sip:"+memberName(i)+"@chat.example"]; n != burst {
			t.Fatalf("%s received %d of %d", memberName(i), n, burst)
		}
	}
}

// TestFanOutInterrupted: Kamailio or imcd ends while copies are under way. Nothing
// hangs, and the rooms go on when both are there again.
func TestFanOutInterrupted(t *testing.T) {
	for name, interrupt := range map[string]func(context.Context, *crowd) error{
		"Kamailio restarts": func(ctx context.Context, c *crowd) error { return c.Kamailio().Restart(ctx) },
		"Kamailio crashes": func(ctx context.Context, c *crowd) error {
			if err := c.Kamailio().Kill(); err != nil {
				return err
			}
			return c.Kamailio().Start(ctx)
		},
		"imcd stops":   func(ctx context.Context, c *crowd) error { return c.RestartImcd(ctx) },
		"imcd crashes": func(ctx context.Context, c *crowd) error { return kill9(ctx, c.Stack) },
	} {
		t.Run(name, func(t *testing.T) {
			// What Kamailio had taken when it ended gets no result: it counts
			// as under way for so long.
			c := startCrowd(t, map[string]string{"result_timeout": "9s"})
			ctx := kit.Within(t, 3*time.Minute)
			c.say(t, bigRoom, "interrupted")
			if _, err := c.sink.WaitN(ctx, crowdSize/10); err != nil {
				t.Fatal(err)
			}
			if err := interrupt(ctx, c); err != nil {
				t.Fatal(err)
			}
			if err := c.Ready(ctx); err != nil {
				t.Fatal(err)
			}
			if err := c.Idle(ctx); err != nil {
				t.Fatal(err)
			}
			at, repeated, twice := c.copies("interrupted")
			t.Logf("%d of %d members have the message, %d repeated, %d twice", len(at), crowdSize, repeated, twice)
			c.register(t, crowdSize)
			c.say(t, bigRoom, "afterwards")
			if err := c.Idle(ctx); err != nil {
				t.Fatal(err)
			}
			if at, repeated, twice := c.copies("afterwards"); len(at) != crowdSize || repeated+twice > 0 {
				t.Errorf("afterwards: %d members have it, %d and %d copies too many", len(at), repeated, twice)
			}
		})
	}
}

func kill9(ctx context.Context, s *stack.Stack) error {
	if err := s.Kill9(); err != nil {
		return err
	}
	return s.StartImcd(ctx)
}
