package kamailiocfg_test

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

	"imcd/cmd/imcd/imcdtest"
	"imcd/evapi"
	"imcd/evapi/evapitest"
	"imcd/schema/schematest"
)

// toposConfig is the stock configuration with the README's edits and topos, whose tables are in a database of
// their own.
func toposConfig(t *testing.T) string {
	t.Helper()
	tables, err := os.ReadFile("/usr/share/kamailio/postgres/topos-create.sql")
	if err != nil {
		t.Fatalf("the tables of Debian's package: %v", err)
	}
	url, _, _ := strings.Cut(schematest.NewDatabase(t), "?")
	name := url[strings.LastIndex(url, "/")+1:]
	if err := schematest.Server(t).Exec(testContext(t), name, subscribers+string(tables)); err != nil {
		t.Fatal(err)
	}
	const include = "include_file \"imc.cfg\"\n"
	lines := fmt.Sprintf("loadmodule \"db_postgres.so\"\nloadmodule \"topos.so\"\n"+
		"modparam(\"topos\", \"db_url\", %q)\n", url)
	return strings.Replace(stockConfig(t, readmeDiffs(t)...), include, lines+include, 1)
}

// startTopos is a chat beside topos.
func startTopos(t *testing.T, fanout, imc string) *chat {
	t.Helper()
	ctx := testContext(t)
	c := &chat{dir: t.TempDir(),
		k: startKamailio(t, evapitest.Options{Config: toposConfig(t), Local: "alias=\"chat.test\"\n", IMCLocal: imc})}
	if err := imcdtest.Build(ctx, c.dir); err != nil {
		t.Fatal(err)
	}
	var err error
	c.imcd, err = imcdtest.Start(ctx, imcdtest.Options{Dir: c.dir, Secret: c.k.Secret(), Evapi: c.k.EvapiAddr(),
		Args: []string{"--fanout", fanout}})
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
	c.alice = registered(t, c.k, evapitest.UAConfig{User: "alice", Domain: "chat.test"})
	c.bob = registered(t, c.k, evapitest.UAConfig{User: "bob", Domain: "chat.test"})
	return c
}

// toldBy reports what imcctl check says.
func (c *chat) toldBy(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(testContext(t), filepath.Join(c.dir, "imcctl"), "check", "--rpc", c.imcd.RPCAddr(),
		"--sip", c.k.SIPAddr())
	cmd.Env = imcdtest.Environ("IMCD_EVAPI="+c.k.EvapiAddr(), "IMCD_EVAPI_SECRET="+c.k.Secret(),
		"IMCD_STATE_DIR="+filepath.Join(c.dir, "state"))
	out, _ := cmd.CombinedOutput() // with exit code 1 if something is wrong
	return string(out)
}

// settled waits until imcd has the outcome of every copy of the room: nothing is sent again then.
func (c *chat) settled(t *testing.T, room string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	client, err := evapi.Dial(ctx, c.imcd.RPCAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var info struct {
			Members []struct {
				User string `json:"user"`
				Lag  uint64 `json:"lag"`
			}
		}
		var stats struct {
			Outstanding int `json:"outstanding"`
		}
		if err := client.Call(ctx, "imc.room_info", []string{room}, &info); err != nil {
			t.Fatal(err)
		}
		if err := client.Call(ctx, "imc.stats", nil, &stats); err != nil {
			t.Fatal(err)
		}
		lag := uint64(stats.Outstanding)
		for _, m := range info.Members {
			lag += m.Lag
		}
		if lag == 0 && len(info.Members) == 2 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("copies have no outcome: %+v, %d under way", info, stats.Outstanding)
		}
	}
}

// TestTopos: rooms work beside topos by each way out: every copy comes once, in order, and imcd hears of it. So do
// messages between users, and calls are topos' as before.
func TestTopos(t *testing.T) {
	const room = "sip:chat-1@chat.test"
	for name, c := range map[string]struct{ fanout, imc string }{
		"sip":         {"sip", "#!define IMC_DIRECT \"location\"\n"},
		"sip routing": {"sip", ""},
		"direct":      {"direct", "#!define IMC_DIRECT \"location\"\n"},
		"batch":       {"batch", ""},
		"rpc":         {"rpc", "#!define IMC_RPC_ONLY\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c := startTopos(t, c.fanout, c.imc)
			expect(t, say(t, c.alice, room, "#create"), 200)
			expect(t, say(t, c.bob, room, "#join"), 200)
			for _, text := range []string{"one", "two", "three"} {
				expect(t, say(t, c.alice, room, text), 200)
			}
			expect(t, say(t, c.bob, room, "four"), 200)
			c.settled(t, room)
			expect(t, say(t, c.alice, "sip:bob@chat.test", "between us"), 200)
			var got []string
			for _, m := range c.bob.Received() {
				if !strings.HasPrefix(m.Text(), "***") {
					got = append(got, m.Text())
				}
			}
			if want := []string{"[alice]: one", "[alice]: two", "[alice]: three", "between us"}; !slices.Equal(got, want) {
				t.Errorf("bob got %q", got)
			}
			c.bob.AnswerWith(486)
			expect(t, do(t, c.alice, evapitest.Request{Method: "INVITE", URI: "sip:bob@chat.test",
				Headers: []string{"Contact: <" + c.alice.Contact() + ">"}}), 486)
			all := c.bob.Received()
			if call := all[len(all)-1]; call.Method != "INVITE" || len(call.Request.GetHeaders("Via")) != 1 {
				t.Errorf("topos has not hidden where a call comes from:\n%s", call.Request)
			}
			const kept = "keeps MESSAGE outside of dialogs from it"
			if says := c.toldBy(t); strings.Contains(says, "FAIL") || !strings.Contains(says, kept) {
				t.Errorf("imcctl check:\n%s", says)
			}
			if log := c.imcd.Log(); strings.Count(log, "topos is loaded") != 1 || strings.Contains(log, "without Via") {
				t.Errorf("log:\n%s", log)
			}
		})
	}
}

// TestToposHasMessages: if topos is left MESSAGE, the log and imcctl check name the cause; what was answered is not
// lost, but comes again and again.
func TestToposHasMessages(t *testing.T) {
	const room = "sip:chat-1@chat.test"
	c := startTopos(t, "batch", "#!define IMC_OWN_TOPOS\n")
	expect(t, say(t, c.alice, room, "#create"), 200)
	says := c.toldBy(t)
	if !strings.Contains(says, "FAIL  topos "+c.k.EvapiAddr()+": topos is loaded in Kamailio and gets MESSAGE") ||
		!strings.Contains(says, "IMC_OWN_TOPOS") {
		t.Errorf("imcctl check:\n%s", says)
	}
	if log := c.imcd.Log(); strings.Count(log, "imc.cfg is told to leave MESSAGE to it") != 1 {
		t.Errorf("log:\n%s", log)
	}
}
