package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"imcd/cmd/imcd/imcdtest"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// TestFleet: owner and spare show the fleet. When the owner was frozen, the takeover and the deposition are
// counted, also after the imcd that was deposed has begun again.
func TestFleet(t *testing.T) {
	url := "IMCD_DB_URL=" + schematest.New(t, schematest.Options{}).URL("postgres")
	first := standalone(t, "first", url)
	second := standalone(t, "second", url)
	shows := func(i *imcdtest.Imcd, want ...string) bool {
		code, stdout, stderr := imcctl(nil, "fleet", "--rpc", i.RPCAddr())
		if code != exitOK {
			t.Logf("exit code %d, %s", code, stderr)
			return false
		}
		for _, line := range want {
			if !regexp.MustCompile(`(?m)^` + line + `$`).MatchString(stdout) {
				t.Logf("no line %s in\n%s", line, stdout)
				return false
			}
		}
		return strings.Count(stdout, "\n") == len(want)
	}
	const title = "ENGINE  HOST +PID +SINCE +HTTP +SILENT  SHARDS  EPOCH  STATE"
	line := func(engine int, i *imcdtest.Imcd, rest string) string {
		return fmt.Sprintf(`%d +\S+ +%d +\S+ \S+ +%s +\d\.\d s +%s`, engine, i.Pid(), i.HTTPAddr(), rest)
	}
	if !shows(first, title, line(1, first, "64 +1 +owner, no Kamailio, asked"),
		line(2, second, "0 +- +spare, no Kamailio")) ||
		!shows(second, title, line(1, first, "64 +1 +owner, no Kamailio"),
			line(2, second, "0 +- +spare, no Kamailio, asked")) {
		t.Error("the fleet is not shown")
	}
	counts := func(i *imcdtest.Imcd, takeovers, deposed, owned int) {
		t.Helper()
		_, text := kit.Get(t, "http://"+i.HTTPAddr()+"/metrics")
		for name, want := range map[string]int{"imc_takeovers_total": takeovers, "imc_deposed_total": deposed,
			"imc_shards_owned": owned, "imc_fleet_shards": 64} {
			if !strings.Contains(string(text), "\n"+name+" "+strconv.Itoa(want)+"\n") {
				t.Errorf("%s is not %d:\n%s", name, want, text)
			}
		}
	}
	counts(first, 0, 0, 64)
	counts(second, 0, 0, 0)
	if err := first.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "the second imcd has the shards",
		func() bool { return shows(second, title, line(2, second, "64 +2 +owner, no Kamailio, asked")) })
	if err := first.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "the first imcd is a spare", func() bool {
		return shows(first, title, line(2, second, "64 +2 +owner, no Kamailio"),
			line(3, first, "0 +- +spare, no Kamailio, asked"))
	})
	counts(first, 0, 1, 0)
	counts(second, 1, 0, 64)
	code, stdout, _ := imcctl(nil, "fleet", "--json", "--rpc", first.RPCAddr())
	if code != exitOK || !json.Valid([]byte(stdout)) {
		t.Errorf("exit code %d, %s", code, stdout)
	}
}

// TestDrain: the owner gives its rooms to a spare and becomes one, and neither a spare nor a lone imcd does.
func TestDrain(t *testing.T) {
	url := "IMCD_DB_URL=" + schematest.New(t, schematest.Options{}).URL("postgres")
	owner := standalone(t, "first", url)
	drain := func(i *imcdtest.Imcd, want int, says string) {
		t.Helper()
		code, stdout, stderr := imcctl(nil, "fleet", "drain", "--rpc", i.RPCAddr())
		if code != want || !strings.Contains(stdout+stderr, says) {
			t.Errorf("exit code %d, %s%s", code, stdout, stderr)
		}
	}
	drain(owner, exitError, "there is no other imcd")
	spare := standalone(t, "second", url)
	drain(spare, exitError, "this one is a spare")
	shows := func(i *imcdtest.Imcd, state string) bool {
		code, stdout, _ := imcctl(nil, "fleet", "--rpc", i.RPCAddr())
		return code == exitOK && strings.Contains(stdout, state)
	}
	for range 2 {
		pid := owner.Pid()
		drain(owner, exitOK, "another imcd takes the rooms over")
		kit.Eventually(t, "the spare is the owner", func() bool { return shows(spare, "owner, no Kamailio, asked") })
		kit.Eventually(t, "the owner is a spare", func() bool { return shows(owner, "spare, no Kamailio, asked") })
		if owner.Pid() != pid {
			t.Error("it is another process")
		}
		owner, spare = spare, owner
	}
}

// TestMove: imcctl says why a shard cannot be moved. Moves that succeed need a Kamailio, and are tried elsewhere.
func TestMove(t *testing.T) {
	url := "IMCD_DB_URL=" + schematest.New(t, schematest.Options{}).URL("postgres")
	owner := standalone(t, "first", url)
	spare := standalone(t, "second", url)
	for _, c := range []struct {
		asked         *imcdtest.Imcd
		shard, engine string
		says          string
	}{
		{owner, "3", "2", "engine 2 is not connected to a Kamailio"},
		{owner, "3", "1", "it is here"},
		{owner, "3", "7", "there is no engine 7"},
		{owner, "64", "2", "there is no shard 64"},
		{owner, "x", "2", "SHARD must be a number"},
		{owner, "3", "x", "ENGINE must be a number"},
		{spare, "3", "1", "this one is a spare"},
		{standalone(t, "sqlite"), "3", "1", "there is no fleet"},
	} {
		code, stdout, stderr := imcctl(nil, "fleet", "move", c.shard, c.engine, "--rpc", c.asked.RPCAddr())
		if code == exitOK || !strings.Contains(stderr, c.says) {
			t.Errorf("move %s %s: exit code %d, %s%s", c.shard, c.engine, code, stdout, stderr)
		}
	}
}

// TestNoFleet: on SQLite there is none.
func TestNoFleet(t *testing.T) {
	code, stdout, stderr := imcctl(nil, "fleet", "--rpc", standalone(t, "sqlite").RPCAddr())
	if code != exitOK || !strings.Contains(stdout, "no fleet") {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
}

// Shards without an owner, and engines of which little is known, are shown.
func TestPrintFleet(t *testing.T) {
	var out strings.Builder
	printFleet(&out, fleet{Engine: 2, Shards: 3, Unowned: 1, Engines: []engine{
		{Engine: 1, Host: "a\x1b", Ending: true, Owns: []ownedShard{{Shard: 0, Epoch: 3}, {Shard: 1, Epoch: 2}}}}})
	for _, want := range []string{"1\ta\uFFFD\t0\t", "\t-\t0.0 s\t2\t3\tending, no Kamailio\n",
		"1 of 3 shards belong to nobody"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %q", want, out.String())
		}
	}
}

// TestCheckFleet: the check names all imcd of a fleet, and does not find fault with a spare.
func TestCheckFleet(t *testing.T) {
	s := newSite(t, evapitest.Options{}).set("IMCD_DB_URL", schematest.New(t, schematest.Options{}).URL("postgres")).
		set("IMCD_SPARE", "1")
	owner := s.startImcd().imcd
	if err := owner.AwaitReady(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	s.check(append([]string{"ok fleet: there is no spare"}, waysOpen...)...)
	spare := s.startImcd("--state_dir", t.TempDir()).imcd
	s.check(fmt.Sprintf("ok fleet: this imcd is a spare; the rooms have: pid %d on host ", owner.Pid()),
		"warn ways: where imcd has the rooms")
	s.set("IMCD_RPC_LISTEN", owner.RPCAddr()).
		check(append([]string{fmt.Sprintf("ok fleet: this imcd has the rooms; spares: pid %d on host ", spare.Pid())},
			waysOpen...)...)
}

// TestSpareAnswers: an operator may ask a spare, which passes everything about rooms on to the imcd that has them.
func TestSpareAnswers(t *testing.T) {
	url := "IMCD_DB_URL=" + schematest.New(t, schematest.Options{}).URL("postgres")
	owner := standalone(t, "first", url)
	spare := standalone(t, "second", url)
	const room = "sip:chat-a@one.example"
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"create", room, "--owner", "sip:ann@one.example"}, exitOK, room},
		{[]string{"add", room, "sip:bob@one.example"}, exitOK, room},
		{[]string{"members", room}, exitOK, "sip:bob@one.example"},
		{[]string{"members", "a"}, exitOK, "sip:ann@one.example"},
		{[]string{"rooms"}, exitOK, room},
		{[]string{"stats"}, exitOK, "2"},
		{[]string{"say", room, "h\u00e9llo"}, exitOK, room},
		{[]string{"history", room}, exitOK, "h\u00e9llo"},
		{[]string{"create", room}, exitError, "exists"},
		{[]string{"members", "sip:chat-b@one.example"}, exitNotFound, "no such room"},
		{[]string{"role", room, "sip:bob@one.example", "king"}, exitError, "role"},
		{[]string{"destroy", room, "--yes"}, exitOK, room},
	} {
		code, stdout, stderr := imcctl(nil, append(c.args, "--rpc", spare.RPCAddr())...)
		if code != c.code || !strings.Contains(stdout+stderr, c.says) {
			t.Errorf("%q: exit code %d, %s%s", c.args, code, stdout, stderr)
		}
	}
	// The spare is not to answer from its memory, of which there is none.
	if err := owner.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "the spare has the rooms", func() bool {
		code, stdout, _ := imcctl(nil, "rooms", "--rpc", spare.RPCAddr())
		return code == exitOK && !strings.Contains(stdout, room)
	})
	if err := owner.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// TestResizeFleet: the rooms are divided again only while no imcd runs.
func TestResizeFleet(t *testing.T) {
	url := schematest.New(t, schematest.Options{}).URL("postgres")
	imcd := standalone(t, "first", "IMCD_DB_URL="+url)
	file := filepath.Join(t.TempDir(), "imcd.yaml")
	if err := os.WriteFile(file, []byte("evapi_secret: x\ndb_url: "+url+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	resize := func(n string, want int, says string) {
		t.Helper()
		code, stdout, stderr := imcctl(nil, "fleet", "resize", n, "-c", file)
		if code != want || !strings.Contains(stdout+stderr, says) {
			t.Errorf("resize %s: exit code %d, %s%s", n, code, stdout, stderr)
		}
	}
	resize("128", exitError, "another imcd works with this database")
	if err := imcd.Stop(); err != nil {
		t.Fatal(err)
	}
	resize("128", exitOK, "divided into 128 shards; before, there were 64")
	resize("100", exitError, "power of two")
	resize("x", exitUsage, "SHARDS must be a number")
	resize("8", exitOK, "hash_size makes 16 workers")
}
