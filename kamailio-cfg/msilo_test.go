package kamailiocfg_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
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
		text = bytes.Replace(text, []byte("callid(string) status(int)"), []byte("callid(string,null) status(int,null)"),
			1)
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
	c := startChat(t, evapitest.Options{Config: msiloConfig(t, store, ports[0]), SIPPort: ports[0]}, [2]string{},
		"--fanout", fanout)
	s := &silo{chat: c, room: "sip:chat-1@chat.test"}
	ctx := kit.Context(t)
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
	s.await(t, s.room, "a copy to bob has an outcome", func(members []member, _ int) bool {
		for _, m := range members {
			if m.User == s.bob.AOR() && m.LastResult != 0 && m.LastResult != 200 {
				code, lag = m.LastResult, m.Lag
			}
		}
		return code != 0
	})
	return code, lag
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
			if err := s.bob.Register(kit.Context(t)); err != nil {
				t.Fatal(err)
			}
			got, err := s.bob.WaitN(kit.Within(t, 15*time.Second), 2)
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
