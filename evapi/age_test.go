package evapi

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"imcd/evapi/evapitest/kit"
)

func TestAgeClock(t *testing.T) {
	start := time.Unix(1000, 0)
	// Kamailio's clock is an hour ahead; the quickest frame takes 1 ms.
	sent := func(at time.Duration) string {
		k := start.Add(at + time.Hour)
		return fmt.Sprintf("%d.%06d", k.Unix(), k.Nanosecond()/1000)
	}
	var c ageClock
	for _, tc := range []struct{ sent, took, want time.Duration }{
		{0, 3 * time.Millisecond, 0},
		{time.Second, time.Millisecond, 0},
		{2 * time.Second, 4 * time.Millisecond, 3 * time.Millisecond},
		{3 * time.Second, 7 * time.Second, 7*time.Second - time.Millisecond}, // frozen meanwhile
		{9 * time.Second, time.Second + time.Millisecond, time.Second},
		{10 * time.Second, time.Millisecond, 0},
		{42 * time.Second, 2 * time.Millisecond, time.Millisecond}, // the next window
		{110 * time.Second, 2 * time.Millisecond, 0},               // the first is forgotten
	} {
		read := start.Add(tc.sent + tc.took)
		if age := c.age(sent(tc.sent), read); age != tc.want {
			t.Errorf("sent at %v, on its way for %v: age %v, want %v", tc.sent, tc.took, age, tc.want)
		}
	}
	for _, s := range []string{"", "x", "12", "1.", ".1", "1.x", "1.-1"} {
		if age := c.age(s, start.Add(time.Hour)); age != 0 {
			t.Errorf("%q: age %v", s, age)
		}
	}
}

// kamailioTime is how Kamailio writes a time.
func kamailioTime(at time.Time) string {
	return fmt.Sprintf("%d.%06d", at.Unix(), at.Nanosecond()/1000)
}

// TestAgeClockIsSet: with the first pong after a clock was set, here or there, frames are as old as they are.
// A pong that was on its way for long, as its ping was, tells of no such thing.
func TestAgeClockIsSet(t *testing.T) {
	const quick = 2 * time.Millisecond
	for _, step := range []time.Duration{0, 2 * time.Second, 10 * time.Second, time.Hour, -10 * time.Second, -time.Hour} {
		start := time.Unix(10000, 0)
		var c ageClock
		for i := range 40 { // more than one window
			sent := start.Add(time.Duration(i) * time.Second)
			c.pong(kamailioTime(sent), sent.Add(quick), 2*quick)
		}
		frozen := start.Add(45 * time.Second) // imcd was, for 7 s
		c.pong(kamailioTime(frozen.Add(-7*time.Second)), frozen, 7*time.Second+quick)
		if age := c.age(kamailioTime(frozen.Add(-5*time.Second)), frozen); age != 5*time.Second-quick {
			t.Errorf("frozen for 7 s, a frame of 5 s is %v old", age)
		}
		set := frozen.Add(step) // our clock; Kamailio's goes on as before
		for i := range 40 {
			sent := frozen.Add(time.Duration(i) * time.Second)
			read := set.Add(time.Duration(i)*time.Second + quick)
			c.pong(kamailioTime(sent), read, 2*quick)
			if age := c.age(kamailioTime(sent), read); age != 0 {
				t.Fatalf("clock set by %v: %d s later a frame is %v old", step, i, age)
			}
		}
		if age := c.age(kamailioTime(frozen), set.Add(5*time.Second+quick)); age != 5*time.Second {
			t.Errorf("clock set by %v: a frame of 5 s is %v old", step, age)
		}
	}
}

// TestKamailioIsSetBack: requests are not too old because Kamailio's clock was set.
func TestKamailioIsSetBack(t *testing.T) {
	t.Parallel()
	var back atomic.Bool
	f := newFake(t, func(p *fakePeer) {
		if !p.welcome() {
			return
		}
		for pongs := 0; ; {
			frame := p.read()
			if frame == "" {
				return
			}
			if pingID(frame) == "" {
				continue
			}
			now := time.Now()
			if back.Load() {
				now = now.Add(-time.Minute)
				pongs++
			}
			p.send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"imc.pong","params":{"id":%q,"time":%q}}`,
				pingID(frame), kamailioTime(now)))
			if pongs == 1 {
				p.send(event("imc.message", fmt.Sprintf(`{"tindex":7,"tlabel":8,"proto":"udp","src_ip":"::1","src_port":1,`+
					`"auth_user":"","ruri":"","msg":%q,"time":%q}`, enc(plainRequest), kamailioTime(now))))
			}
		}
	})
	rec := &recorder{}
	c := startConn(t, testConfig(f.addr()), rec)
	kit.Eventually(t, "some pongs", func() bool { return c.Stats().Pongs > 3 })
	back.Store(true)
	kit.Eventually(t, "the message", func() bool { return rec.has("message 7:8") })
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if age := rec.messages[0].Age; age > 2*time.Second { // imcd answers 503 from 4 s on
		t.Errorf("a message is %v old when it comes", age)
	}
}
