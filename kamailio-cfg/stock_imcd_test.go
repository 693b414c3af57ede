package kamailiocfg_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"imcd/cmd/imcd/imcdtest"
	"imcd/evapi/evapitest"
)

// chat is a stock Kamailio with the README's edits, an imcd beside it, and the
// two users of the subscriber table.
type chat struct {
	k          *evapitest.Kamailio
	imcd       *imcdtest.Imcd
	dir        string // holds the programs
	alice, bob *evapitest.UA
}

func startChat(t *testing.T, config, local string, passwords [2]string) *chat {
	t.Helper()
	ctx := testContext(t)
	c := &chat{k: startKamailio(t, evapitest.Options{Config: config, Local: local + "alias=\"chat.test\"\n"})}
	dir := t.TempDir()
	c.dir = dir
	if err := imcdtest.Build(ctx, dir); err != nil {
		t.Fatal(err)
	}
	var err error
	c.imcd, err = imcdtest.Start(ctx, imcdtest.Options{Dir: dir, Secret: c.k.Secret(), Evapi: c.k.EvapiAddr()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.imcd.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(c.imcd.Log())
		}
	})
	if err := c.imcd.AwaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	c.alice = registered(t, c.k, evapitest.UAConfig{User: "alice", Domain: "chat.test", Password: passwords[0]})
	c.bob = registered(t, c.k, evapitest.UAConfig{User: "bob", Domain: "chat.test", Password: passwords[1]})
	return c
}

// The README's edits, the real imcd, with and without authentication.
func TestStockWithImcd(t *testing.T) {
	diffs := readmeDiffs(t)
	t.Run("open", func(t *testing.T) {
		startChat(t, stockConfig(t, diffs...), "", [2]string{}).converse(t)
	})
	t.Run("auth", func(t *testing.T) {
		c := startChat(t, stockConfig(t, diffs...), authLocal(t), [2]string{"a-secret", "b-secret"})
		c.converse(t)
		stranger := newUA(t, evapitest.UAConfig{User: "alice", Domain: "chat.test", Proxy: c.k.SIPAddr()})
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
	cmd := exec.CommandContext(testContext(t), filepath.Join(c.dir, "imcctl"), "check", "--rpc", c.imcd.RPCAddr(), "--sip", c.k.SIPAddr())
	cmd.Env = imcdtest.Environ("IMCD_EVAPI="+c.k.EvapiAddr(), "IMCD_EVAPI_SECRET="+c.k.Secret(), "IMCD_STATE_DIR="+filepath.Join(c.dir, "state"))
	out, err := cmd.CombinedOutput()
	for _, want := range []string{"a copy went through Kamailio", "a request to sip:chat-1@chat.test reached imcd", "imcd is told of registrations"} {
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%v, without %q:\n%s", err, want, out)
		}
	}
}

// says sends to the room and waits until the other has it.
func (c *chat) says(t *testing.T, from, to *evapitest.UA, text string) {
	t.Helper()
	expect(t, say(t, from, "sip:chat-1@chat.test", text), 200)
	_, err := to.Wait(testContext(t), func(all []evapitest.Received) bool {
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
	ctx := testContext(t)
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
	if err := c.imcd.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	c.untilTaken(t)
	c.says(t, c.bob, c.alice, "as before")
	c.says(t, c.alice, c.bob, "as ever")
}

// untilTaken waits until rooms are served again.
func (c *chat) untilTaken(t *testing.T) {
	t.Helper()
	ctx := testContext(t)
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
