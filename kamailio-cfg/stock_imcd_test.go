package kamailiocfg_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// The README's edits, the real imcd, with and without authentication.
func TestStockWithImcd(t *testing.T) {
	diffs := readmeDiffs(t)
	t.Run("open", func(t *testing.T) {
		startChat(t, evapitest.Options{Config: stockConfig(t, diffs...)}, [2]string{}).converse(t)
	})
	t.Run("auth", func(t *testing.T) {
		c := startChat(t, evapitest.Options{Config: stockConfig(t, diffs...), Local: authLocal(t)},
			[2]string{"a-secret", "b-secret"})
		c.converse(t)
		stranger := kit.UA(t, evapitest.UAConfig{User: "alice", Domain: "chat.test", Proxy: c.k.SIPAddr()})
		expect(t, say(t, stranger, "sip:chat-1@chat.test", "it is me, really"), 407)
		c.says(t, c.alice, c.bob, "nobody else came in")
	})
}

func (c *chat) converse(t *testing.T) {
	const room = "sip:chat-1@chat.test"
	expect(t, say(t, c.alice, room, "#create"), 200)
	expect(t, say(t, c.bob, room, "before he has joined"), 403)
	expect(t, say(t, c.bob, room, "#join"), 200)
	c.says(t, c.alice, c.bob, "hello")
	c.says(t, c.bob, c.alice, "hello yourself")
	t.Run("check", c.check)
	t.Run("others", func(t *testing.T) { stockOthers(t, c.k, c.alice, c.bob) })
	t.Run("frozen", c.frozen)
	t.Run("killed", c.killed)
}

// check: imcctl finds nothing wrong with the README's edits, also where users have
// passwords.
func (c *chat) check(t *testing.T) {
	out, err := c.runCheck(t)
	for _, want := range []string{"a copy went through Kamailio", "a request to sip:chat-1@chat.test reached imcd",
		"imcd hears of registrations"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%v, without %q:\n%s", err, want, out)
		}
	}
}

// says sends to the room and waits until the other has it.
func (c *chat) says(t *testing.T, from, to *evapitest.UA, text string) {
	t.Helper()
	expect(t, say(t, from, "sip:chat-1@chat.test", text), 200)
	_, err := to.Wait(kit.Context(t), func(all []evapitest.Received) bool {
		for _, r := range all {
			if strings.HasSuffix(r.Text(), text) && r.From == "sip:chat-1@chat.test" && r.Header("X-IMC-Secret") == "" {
				return true
			}
		}
		return false
	})
	if err != nil {
		t.Errorf("%q did not arrive: %v", text, err)
	}
}

// frozen: rooms are refused while imcd is stopped, and all else goes on.
func (c *chat) frozen(t *testing.T) {
	if err := c.imcd.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx := kit.Context(t)
	tick := time.NewTicker(5 * time.Millisecond) // 200 a second
	defer tick.Stop()
	var last <-chan said
	for i := range 1500 {
		last = say(t, c.alice, "sip:chat-1@chat.test", strings.Repeat("x", 1000))
		if i%100 == 0 {
			if err := c.bob.Register(ctx); err != nil {
				t.Error(err)
			}
			expect(t, do(t, c.bob, evapitest.Request{Method: "OPTIONS", URI: "sip:" + c.k.SIPAddr()}), 200)
			expect(t, say(t, c.bob, c.alice.AOR(), "are you there?"), 200)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
	}
	if s := expect(t, last, 503); s.after != "5" {
		t.Errorf("answer %s", s)
	}
	if err := c.imcd.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	c.untilTaken(t)
	c.says(t, c.alice, c.bob, "after the frost")
}

// killed: the room is as it was, and rooms alone are refused meanwhile.
func (c *chat) killed(t *testing.T) {
	if err := c.imcd.Kill(); err != nil {
		t.Fatal(err)
	}
	untilUnavailable(t, c.alice)
	expect(t, say(t, c.bob, c.alice.AOR(), "still there"), 200)
	if err := c.imcd.Start(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	c.untilTaken(t)
	c.says(t, c.bob, c.alice, "as before")
	c.says(t, c.alice, c.bob, "as ever")
}

// untilTaken waits until rooms are served again.
func (c *chat) untilTaken(t *testing.T) {
	t.Helper()
	ctx := kit.Context(t)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		res, err := c.alice.Say(ctx, "sip:chat-1@chat.test", "is it on?")
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode == 200 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("rooms are not served again: %d %s", res.StatusCode, res.Reason)
		}
	}
}
