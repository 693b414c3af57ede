package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

const (
	// loadRate is how many room messages a second come while imcd is frozen,
	// loadTime for how long: longer than Kamailio's lease and its timer.
	loadRate = 200
	loadTime = 8 * time.Second
	// answerBound is the issue's: room messages get 503 within 6 s.
	answerBound = 6 * time.Second
)

// reply is what one request of the load came to.
type reply struct {
	code int
	took time.Duration
	err  error
}

// TestFrozen stops imcd (SIGSTOP) while room messages come: these are answered
// 503, and everything else goes on as ever.
func TestFrozen(t *testing.T) {
	for name, size := range map[string]int{"small": 100, "40KB": 40 << 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, "sqlite", stack.Options{})
			freeze(t, s, strings.Repeat("x", size))
		})
	}
}

func freeze(t *testing.T, s *stack.Stack, body string) {
	ctx := kit.Within(t, 2*time.Minute)
	const room = "sip:chat-a@x"
	alice, bob := agent(t, s, "alice"), agent(t, s, "bob")
	senders := make([]*evapitest.UA, 4)
	for i := range senders {
		senders[i] = agent(t, s, fmt.Sprintf("sender%d", i))
	}
	for _, u := range append(senders, alice, bob) {
		if res, err := u.Say(ctx, room, "#join"); err != nil || res.StatusCode != 200 {
			t.Fatalf("join: %v %v", res, err)
		}
	}
	if err := s.SignalImcd(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var others sync.WaitGroup
	var worst time.Duration
	var rounds int
	others.Go(func() { worst, rounds = probe(t, ctx, s, stop) })
	replies := load(ctx, senders, room, body)
	close(stop)
	others.Wait()
	judgeReplies(t, replies)
	t.Logf("REGISTER, OPTIONS and MESSAGE: %d rounds, the slowest request took %v", rounds, worst)
	if err := s.SignalImcd(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	awaitRoom(t, ctx, alice, bob, room)
	if err := s.Idle(ctx); err != nil {
		t.Error(err)
	}
	// Who heard 503 will send it again, or not: it must not have been done.
	if n := countFrom(bob.Received(), "[sender"); n > 0 {
		t.Errorf("%d messages that were answered 503 were delivered after SIGCONT", n)
	}
}

func countFrom(all []evapitest.Received, prefix string) (n int) {
	for _, m := range all {
		if strings.HasPrefix(m.Text(), prefix) {
			n++
		}
	}
	return n
}

// load sends room messages at loadRate for loadTime, and waits for all replies.
func load(ctx context.Context, senders []*evapitest.UA, room, body string) []reply {
	total := int(loadTime.Seconds() * loadRate)
	replies := make([]reply, total)
	tick := time.NewTicker(time.Second / loadRate)
	defer tick.Stop()
	var all sync.WaitGroup
	for i := range total {
		<-tick.C
		all.Go(func() {
			began := time.Now()
			res, err := senders[i%len(senders)].Say(ctx, room, body)
			replies[i] = reply{took: time.Since(began), err: err}
			if err == nil {
				replies[i].code = res.StatusCode
			}
		})
	}
	all.Wait()
	return replies
}

func judgeReplies(t *testing.T, replies []reply) {
	var slowest time.Duration
	codes := make(map[int]int)
	atOnce := 0
	for _, r := range replies {
		if r.err != nil {
			t.Fatal(r.err)
		}
		codes[r.code]++
		slowest = max(slowest, r.took)
		if r.took < time.Second {
			atOnce++
		}
	}
	t.Logf("%d room messages: replies %v, slowest %v, %d within a second", len(replies), codes, slowest, atOnce)
	if codes[503] != len(replies) {
		t.Errorf("replies are %v, want 503 only", codes)
	}
	if slowest > answerBound {
		t.Errorf("the slowest 503 took %v, more than %v", slowest, answerBound)
	}
}

// probe sends what has nothing to do with rooms, over and over. All of it must
// be answered.
func probe(t *testing.T, ctx context.Context, s *stack.Stack, stop <-chan struct{}) (worst time.Duration, rounds int) {
	carol, dave := agent(t, s, "carol"), agent(t, s, "dave")
	try := func(what string, f func() error) {
		began := time.Now()
		if err := f(); err != nil {
			t.Errorf("%s while imcd is frozen: %v", what, err)
		}
		worst = max(worst, time.Since(began))
	}
	want200 := func(code int) error {
		if code != 200 {
			return fmt.Errorf("reply is %d", code)
		}
		return nil
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			if got := len(dave.Received()); got != rounds {
				t.Errorf("dave received %d messages of carol's %d", got, rounds)
			}
			return worst, rounds
		case <-tick.C:
		}
		rounds++
		try("REGISTER", func() error { return carol.Register(ctx) })
		try("OPTIONS", func() error {
			res, err := carol.Options(ctx, "sip:"+s.Kamailio().SIPAddr())
			if err != nil {
				return err
			}
			return want200(res.StatusCode)
		})
		try("MESSAGE", func() error {
			res, err := carol.Say(ctx, "sip:dave@x", "hello dave")
			if err != nil {
				return err
			}
			return want200(res.StatusCode)
		})
	}
}

// awaitRoom waits until a message of alice reaches bob again.
func awaitRoom(t *testing.T, ctx context.Context, alice, bob *evapitest.UA, room string) {
	t.Helper()
	for {
		res, err := alice.Say(ctx, room, "back again")
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode == 200 {
			break
		}
	}
	_, err := bob.Wait(ctx, func(all []evapitest.Received) bool {
		return slices.ContainsFunc(all,
			func(m evapitest.Received) bool { return strings.HasSuffix(m.Text(), "]: back again") })
	})
	if err != nil {
		t.Errorf("after SIGCONT: %v", err)
	}
}
