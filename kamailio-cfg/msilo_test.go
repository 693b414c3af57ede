package kamailiocfg_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"imcd/cmd/imcd/imcdtest"
	"imcd/evapi"
	"imcd/evapi/evapitest"
	kamailiocfg "imcd/kamailio-cfg"
)

// msiloLines are the lines of README.md that keep copies from msilo.
func msiloLines(t *testing.T) string {
	t.Helper()
	lines := regexp.MustCompile("(?ms)^```\n(\tif [^\n]*m_store.*?)^```$")
	block := lines.FindStringSubmatch(kamailiocfg.File(kamailiocfg.Readme))
	if block == nil {
		t.Fatal("README.md shows no lines with m_store")
	}
	return block[1]
}

// msiloConfig is the stock configuration with the README's edits and msilo, which
// stores by the given lines where a user is not registered.
func msiloConfig(t *testing.T, store string, port int) string {
	t.Helper()
	config := stockConfig(t, readmeDiffs(t)...)
	for old, new := range map[string]string{
		"include_file \"imc.cfg\"\n": msiloModule(t, port) + "include_file \"imc.cfg\"\n",
		"		$var(rc) = $rc;\n":        "		$var(rc) = $rc;\n" + store,
		"	route(IMC_REGISTERED);\n":  "	route(IMC_REGISTERED);\n	m_dump(\"$tu\");\n",
	} {
		if !strings.Contains(config, old) {
			t.Fatalf("the stock configuration has no %q", old)
		}
		config = strings.Replace(config, old, new, 1)
	}
	return config
}

// msiloModule loads msilo with tables that are text files.
func msiloModule(t *testing.T, port int) string {
	t.Helper()
	dir := t.TempDir()
	for _, table := range []string{"silo", "version"} {
		text, err := os.ReadFile(filepath.Join("/usr/share/kamailio/dbtext/kamailio", table))
		if err != nil {
			t.Fatalf("the tables of Debian's package: %v", err)
		}
		// msilo leaves columns out, for which text files have no default.
		text = bytes.Replace(text, []byte("callid(string) status(int)"), []byte("callid(string,null) status(int,null)"), 1)
		if err := os.WriteFile(filepath.Join(dir, table), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf("loadmodule \"db_text.so\"\nloadmodule \"msilo.so\"\n"+
		"modparam(\"msilo\", \"db_url\", \"text://%s\")\n"+
		"modparam(\"msilo\", \"from_address\", \"sip:$rU@chat.test\")\n"+
		"modparam(\"msilo\", \"outbound_proxy\", \"sip:127.0.0.1:%d\")\n", dir, port)
}

// silo is a chat beside msilo.
type silo struct {
	*chat
	room string
}

func startSilo(t *testing.T, fanout, store string) *silo {
	t.Helper()
	ports, err := evapitest.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	k := startKamailio(t, evapitest.Options{Config: msiloConfig(t, store, ports[0]), SIPPort: ports[0],
		Local: "alias=\"chat.test\"\n"})
	s := &silo{chat: &chat{k: k, dir: t.TempDir()}, room: "sip:chat-1@chat.test"}
	ctx := testContext(t)
	if err := imcdtest.Build(ctx, s.dir); err != nil {
		t.Fatal(err)
	}
	s.imcd, err = imcdtest.Start(ctx, imcdtest.Options{Dir: s.dir, Secret: s.k.Secret(), Evapi: s.k.EvapiAddr(),
		Args: []string{"--fanout", fanout}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.imcd.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := s.imcd.AwaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	s.alice = registered(t, s.k, evapitest.UAConfig{User: "alice", Domain: "chat.test"})
	s.bob = registered(t, s.k, evapitest.UAConfig{User: "bob", Domain: "chat.test"})
	expect(t, say(t, s.alice, s.room, "#create"), 200)
	expect(t, say(t, s.bob, s.room, "#join"), 200)
	if _, err := s.bob.WaitN(ctx, 1); err != nil { // that he has joined
		t.Fatal(err)
	}
	if err := s.bob.Unregister(ctx); err != nil {
		t.Fatal(err)
	}
	s.bob.Clear()
	return s
}

// result waits until a copy to bob has ended otherwise than by his phone's 200, and
// returns its code.
func (s *silo) result(t *testing.T) (code int, lag uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	c, err := evapi.Dial(ctx, s.imcd.RPCAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var info struct {
			Members []struct {
				User       string `json:"user"`
				Lag        uint64 `json:"lag"`
				LastResult int    `json:"last_result"`
			}
		}
		if err := c.Call(ctx, "imc.room_info", []string{s.room}, &info); err != nil {
			t.Fatal(err)
		}
		for _, m := range info.Members {
			if m.User == s.bob.AOR() && m.LastResult != 0 && m.LastResult != 200 {
				return m.LastResult, m.Lag
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("no outcome for bob: %+v", info)
		}
	}
}

// TestMsilo: with the README's lines, msilo keeps what users write to each other and no
// copy of imcd's: those wait in imcd and come once, from the room, by every way out.
func TestMsilo(t *testing.T) {
	for _, fanout := range []string{"sip", "batch", "rpc"} {
		t.Run(fanout, func(t *testing.T) {
			s := startSilo(t, fanout, msiloLines(t))
			expect(t, say(t, s.alice, s.bob.AOR(), "between us"), 202)
			expect(t, say(t, s.alice, s.room, "while you were away"), 200)
			if code, lag := s.result(t); code != 404 || lag != 1 {
				t.Errorf("the copy was answered %d, and %d are owed; want 404 and 1", code, lag)
			}
			if err := s.bob.Register(testContext(t)); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			defer cancel()
			got, err := s.bob.WaitN(ctx, 2)
			if err != nil {
				t.Fatal(err)
			}
			from := map[string]string{}
			for _, m := range got {
				from[m.From] += m.Text()
			}
			if len(got) != 2 || from[s.room] != "[alice]: while you were away" ||
				!strings.HasSuffix(from[s.alice.AOR()], "between us") {
				t.Errorf("bob got %v", from)
			}
		})
	}
}

// TestMsiloUnguarded: what README.md warns of: an m_store() for every MESSAGE takes
// copies, too, and imcd takes them for delivered.
func TestMsiloUnguarded(t *testing.T) {
	s := startSilo(t, "batch", strings.Replace(msiloLines(t), "$avp(imc_copy)==$null && ", "", 1))
	expect(t, say(t, s.alice, s.room, "while you were away"), 200)
	if code, lag := s.result(t); code != 202 || lag != 0 {
		t.Errorf("the copy was answered %d, and %d are owed", code, lag)
	}
}
