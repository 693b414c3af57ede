package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"imcd/evapi"
)

// TestMeter: the burst at once, then one more each Per/Count, whatever the
// beginning; and an idle one is as good as new.
func TestMeter(t *testing.T) {
	var m meter
	rate, now := Rate{Count: 4, Per: 2 * time.Second}, time.Now()
	let := func(at time.Duration, want bool) {
		t.Helper()
		if wait, _ := m.take(rate, now.Add(at)); (wait == 0) != want || wait < 0 || wait > rate.Per {
			t.Errorf("at %v: wait %v, let through should be %v", at, wait, want)
		}
	}
	for range 4 {
		let(0, true)
	}
	let(0, false)
	let(499*time.Millisecond, false)
	let(500*time.Millisecond, true)
	let(500*time.Millisecond, false)
	for i := range 20 {
		let(time.Second+time.Duration(i)*500*time.Millisecond, true)
	}
	for range 4 {
		let(time.Hour, true)
	}
	let(time.Hour, false)
	if wait, first := m.take(rate, now.Add(time.Hour)); wait != 500*time.Millisecond || first {
		t.Errorf("the second refusal: wait %v, first %v", wait, first)
	}
	if wait, _ := new(meter).take(Rate{}, now); wait != 0 {
		t.Errorf("no limit, and yet to wait %v", wait)
	}
}

// TestSendersAreBounded: the memory of who sent is bounded, forgets those who have
// been silent, and lets through users that it has no space for.
func TestSendersAreBounded(t *testing.T) {
	const most = 64 * senderParts
	s, now, rate := newSenders(most), time.Now(), Rate{Count: 1, Per: time.Minute}
	refused := func(user string, at time.Time) bool {
		no := false
		s.with(user, at, func(m *senderMeters) {
			wait, _ := m.messages.take(rate, at)
			no = wait > 0
		})
		return no
	}
	for i := range 20 * most {
		refused(fmt.Sprintf("user%d@x", i), now)
	}
	if n := s.count(); n > most || n < most/2 {
		t.Errorf("%d senders are known, the limit is %d", n, most)
	}
	if !refused("user1@x", now) {
		t.Error("one who is known got through twice")
	}
	for range 2 {
		if refused("late@x", now) {
			t.Error("one for whom there was no room was refused")
		}
	}
	later := now.Add(2 * time.Minute)
	for i := range most {
		if user := fmt.Sprintf("other%d@x", i); refused(user, later) {
			t.Errorf("%s is new and was refused", user)
		}
	}
	if n := s.count(); n > most {
		t.Errorf("%d senders are known, the limit is %d", n, most)
	}
	for i := range s.parts {
		if s.parts[i].byKey["user1@x"] != nil {
			t.Error("one who has been silent for long is still known")
		}
	}
}

// rates is a house with limits that no test outlasts.
func rates(t *testing.T, change func(*Config)) *house {
	t.Helper()
	return newHouse(t, func(c *Config) {
		c.HashSize = 4
		change(c)
	})
}

// TestSenderRate: a user's messages to all rooms are counted together; of those
// that are too many, only the first gets a notice; others are not concerned.
func TestSenderRate(t *testing.T) {
	h := rates(t, func(c *Config) { c.RateSenderMessages = Rate{Count: 3, Per: time.Hour} })
	runSteps(t, h, []step{
		{"alice", "r1", "#create", 200, 1, []string{"alice<r1: *** Room r1"}},
		{"alice", "r2", "#create", 200, 1, []string{"alice<r2: *** Room r2"}},
		{"bob", "r1", "#join", 200, 1, []string{"alice<r1: *** bob", "bob<r1: *** You are in"}},
		{"alice", "r1", "1", 200, 1, []string{"bob<r1: [alice]: 1"}},
		{"alice", "r2", "2", 200, 1, nil},
		{"Alice", "r1", "3", 200, 1, []string{"bob<r1: [alice]: 3"}},
		{"alice", "r1", "4", 480, -208, []string{"alice<r1: *** That is too fast"}},
		{"alice", "r2", "5", 480, -208, nil},
		{"alice", "r1", "#list", 200, 1, []string{"alice<r1: 2 members"}},
		{"bob", "r1", "1", 200, 1, []string{"alice<r1: [bob]: 1"}},
	})
	a := h.say("alice", "r1", "6")
	if a.RetryAfter < 10*time.Minute || a.RetryAfter > 20*time.Minute {
		t.Errorf("Retry-After is %v, should be near a third of an hour", a.RetryAfter)
	}
}

// TestCommandRate: floods of commands end, those of nonsense and of #rooms too,
// and the same request sent again is not held against its sender.
func TestCommandRate(t *testing.T) {
	limit := func(c *Config) { c.RateSenderCommands = Rate{Count: 3, Per: time.Hour} }
	for _, flood := range []string{"#create r%d", "#rooms", "#nonsense%d", "# %d", "#join r%d", "#help", "#create <%d>"} {
		t.Run(flood, func(t *testing.T) {
			h := rates(t, limit)
			for i := range 10 {
				text := flood
				if strings.Contains(flood, "%") {
					text = fmt.Sprintf(flood, i)
				}
				a := h.say("alice", "r", text)
				heard := len(h.heard())
				over := a.Code == 480 && a.RC%10 == -rcLimited && a.RetryAfter > 0
				if over != (i >= 3) {
					t.Errorf("%q, number %d: answered %d rc %d", text, i, a.Code, a.RC)
				}
				if want := 1; i > 3 && heard != 0 || i <= 3 && heard < want {
					t.Errorf("%q, number %d: heard %d", text, i, heard)
				}
			}
			h.want(h.say("bob", "r", "#help"), 200, 1)
		})
	}
	h := rates(t, limit)
	m := h.request("alice", "r@x.org", "#create")
	for range 10 {
		again := *m
		h.want(<-h.send(&again), 200, 1)
	}
}

// TestFloodIsNotRemembered: what is refused for its number takes no place among the
// answers that are remembered.
func TestFloodIsNotRemembered(t *testing.T) {
	h := rates(t, func(c *Config) { c.RateSenderMessages = Rate{Count: 2, Per: time.Hour} })
	h.say("alice", "r", "#create")
	for i := range 50 {
		h.want(h.say("alice", "r", "flood"), map[bool]int{true: 200, false: 480}[i < 2],
			map[bool]int{true: 1, false: -208}[i < 2])
	}
	known, err := gather(t.Context(), h.e, func(s *shard) []int { return []int{len(s.dedupe.order)} })
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, n := range known {
		sum += n
	}
	if sum != 3 {
		t.Errorf("%d answers are remembered, should be 3", sum)
	}
}

// TestRoomRate: what all members say in a room is limited together; those who are
// not in it cannot use that up.
func TestRoomRate(t *testing.T) {
	h := rates(t, func(c *Config) {
		c.RateRoomMessages = Rate{Count: 2, Per: time.Hour}
		c.RateRoomJoins = Rate{Count: 2, Per: time.Hour}
	})
	runSteps(t, h, []step{
		{"alice", "r", "#create", 200, 1, []string{"alice<r: *** Room r"}},
		{"eve", "r", "let me in", 403, -202, []string{"eve<r: *** You are not"}},
		{"eve", "r", "let me in", 403, -202, nil},
		{"eve", "r", "let me in", 403, -202, nil},
		{"bob", "r", "#join", 200, 1, []string{"alice<r: *** bob", "bob<r: *** You are in"}},
		{"bob", "r", "1", 200, 1, []string{"alice<r: [bob]: 1"}},
		{"alice", "r", "2", 200, 1, []string{"bob<r: [alice]: 2"}},
		{"alice", "r", "3", 480, -208, []string{"alice<r: *** Too much is said"}},
		{"bob", "r", "4", 480, -208, nil},
		{"bob", "r", "#leave", 200, 1, []string{"alice<r: *** bob has left", "bob<r: *** You have left"}},
		{"bob", "r", "#create", 200, 1, []string{"alice<r: *** bob", "bob<r: *** You are in"}},
		{"bob", "r", "#leave", 200, 1, []string{"alice<r: *** bob has left", "bob<r: *** You have left"}},
		{"bob", "r", "#join", 480, -48, []string{"bob<r: *** Too many want to join room r"}},
		{"dave", "r", "#join", 480, -48, nil},
		{"alice", "r", "#add dave", 200, 1, []string{"alice<r: *** dave", "dave<r: *** alice has added"}},
		{"dave", "r2", "#join", 200, 1, []string{"dave<r2: *** Room r2 created"}},
	})
}

// TestLimitedIsNotRemembered: who was asked to wait may send the same again later.
func TestLimitedIsNotRemembered(t *testing.T) {
	h := rates(t, func(c *Config) { c.RateSenderMessages = Rate{Count: 1, Per: 40 * time.Millisecond} })
	h.say("alice", "r", "#create")
	var m *evapi.Message
	h.until("refused", func() bool {
		h.say("alice", "r", "quick")
		m = h.request("alice", "r@x.org", "again")
		first := *m
		return (<-h.send(&first)).Code == 480
	})
	h.until("let through", func() bool {
		again := *m
		return (<-h.send(&again)).Code == 200
	})
}

// BenchmarkMessage is one message to a room of two, without limits (the default)
// and with them.
func BenchmarkMessage(b *testing.B) {
	plenty := Rate{Count: maxRateCount, Per: time.Second}
	for name, change := range map[string]func(*Config){
		"off": func(*Config) {},
		"rates": func(c *Config) {
			c.RateSenderMessages, c.RateSenderCommands, c.RateRoomMessages, c.RateRoomJoins = plenty, plenty, plenty, plenty
		},
		"owners": func(c *Config) { c.MaxRooms = 5 },
	} {
		b.Run(name, func(b *testing.B) {
			h := newHouse(b, change)
			h.say("alice", "r", "#create")
			h.say("bob", "r", "#join")
			b.ReportAllocs()
			for b.Loop() {
				<-h.post("alice", "r@x.org", "hello")
				h.relay.take()
			}
		})
	}
}

// count is how many senders are known.
func (s *senders) count() int {
	n := 0
	for i := range s.parts {
		p := &s.parts[i]
		p.mu.Lock()
		n += len(p.byKey)
		p.mu.Unlock()
	}
	return n
}
