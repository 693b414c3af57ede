package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// line is one call of imcctl and what must come of it.
type line struct {
	command string // words; _ stands for a space in a word
	code    int
	says    string // in the output, or in the error if code is not 0
}

func words(command string) []string {
	list := strings.Fields(command)
	for i := range list {
		list[i] = strings.ReplaceAll(list[i], "_", " ")
	}
	return list
}

// TestLife leads rooms through all commands, by both doors, and sees that
// users hear of it.
func TestLife(t *testing.T) {
	k, i := start(t)
	ctx := kit.Context(t)
	carol, err := evapitest.NewUA(evapitest.UAConfig{User: "carol", Domain: "example.org", Proxy: k.SIPAddr()})
	if err != nil {
		t.Fatal(err)
	}
	defer carol.Close()
	if err := carol.Register(ctx); err != nil {
		t.Fatal(err)
	}
	environ := map[string]string{secretEnv: k.OperatorSecret()}
	for _, door := range [][]string{{"--rpc", i.RPCAddr()}, {"--evapi", k.EvapiAddr()}} {
		for _, l := range []line{
			{"create chat-team@example.org --private --owner carol", 0, "sip:chat-team@example.org: created\n"},
			{"create chat-team@example.org", 1, "Room exists"},
			{"create chat-team@example.org x", 2, "1 arg"},
			{"create nonsense", 2, "which domain? A new room needs one, as in nonsense@example.org"},
			{"create nonsense@", 1, "room: bad URI"},
			{"create chat-own --owner carol@example.org", 0, "sip:chat-own@example.org: created\n"},
			{"destroy chat-own", 2, "--yes"},
			{"room chat-own", 0, "sip:carol@example.org  owner"},
			{"destroy own --yes", 0, "sip:chat-own@example.org: destroyed\n"},
			{"destroy own --yes", 3, "no such room: own"},
			{"add chat-team@example.org alice --role admin", 0, "sip:chat-team@example.org: alice is a member\n"},
			{"add chat-team@example.org alice", 1, "in the room already"},
			{"add chat-none@example.org alice", 3, "no such room: sip:chat-none@example.org"},
			{"role chat-team@example.org alice Owner", 0, "alice is now owner\n"},
			{"role chat-team@example.org alice king", 1, "no role"},
			{"role chat-team@example.org bob admin", 3, "bob"},
			{"moderate team mute alice too loud --for 2h", 0, "sip:chat-team@example.org: mute alice: done\n"},
			{"moderate team Warn alice you", 0, "warn alice: done\n"},
			{"moderate team ban *@spam.example", 0, "ban *@spam.example: done\n"},
			{"moderate team ban", 2, "at least 3 arg"},
			{"moderate team kick alice", 1, "act: must be one of mute"},
			{"moderate team mute alice --for soon", 1, "for: must be a time"},
			{"moderate team mute dora", 3, "dora"},
			{"acts team", 0, "too loud"},
			{"acts team", 0, "operator  role"},
			{"acts team -n 0x", 2, "invalid argument"},
			{"acts team -n 2000", 1, "must be 1 to 1000"},
			{"acts chat-nowhere@example.org", 0, "Nothing is kept."},
			{"say chat-team@example.org The gate is open.", 0, "said\n"},
			{"say chat-team@example.org from_alice --from alice", 0, "said\n"},
			{"say chat-team@example.org from_bob --from bob", 1, "Not a member"},
			{"say chat-team@example.org", 2, "a room and a text"},
			{"say --all", 2, "a text"},
			{"say --all x --from bob", 2, "from"},
			{"say --all Good_night", 0, "said in 2 rooms\n"},
			{"history chat-team@example.org", 0, "from alice"},
			{"history chat-team@example.org -n 1", 0, "sip:chat-team@example.org  Good night\n"},
			{"history chat-team@example.org -n 100000", 1, "history_max"},
			{"history chat-team@example.org --json", 0, `"body":"The gate is open."`},
			{"room chat-team@example.org", 0, "sip:alice@example.org  owner"},
			{"room chat-team@example.org", 0, "private, 3 messages"},
			{"room chat-none@example.org", 3, "no such room"},
			{"rooms --private", 0, "ROOM                       MEMBERS  OWNER\nsip:chat-team@example.org  2        " +
				"sip:carol@example.org\n"},
			{"rooms chat-l*", 0, "OWNER\nsip:chat-lobby@example.org  2"},
			{"rooms *@Example.org --sort members -l", 0, "BACKLOG"},
			{"rooms *@example.com", 0, "ROOM  MEMBERS  OWNER\n"},
			{"rooms --private --json", 0, `[{"room":"sip:chat-team@example.org","private":true`},
			{"rooms x* --json", 0, "[]\n"},
			{"rooms --sort size", 2, "--sort"},
			{"rooms [", 2, "PATTERN"},
			{"set chat-team@example.org topic The_roses are_out.", 0, "sip:chat-team@example.org: topic was set\n"},
			{"set team title The_team", 0, "title was set\n"},
			{"set team limit 5", 0, "limit was set\n"},
			{"set team", 0, "limit      5                   the room   number|off"},
			{"set team", 0, "history    off                 imcd.yaml  number|off"},
			{"set team --json", 0, `"name":"topic","value":"The roses are out.","set":true`},
			{"set team colour blue", 1, "There is no setting 'colour'"},
			{"set team limit x", 1, "neither off nor a number"},
			{"set team limit", 2, "which value for limit?"},
			{"set chat-none@example.org limit 5", 3, "no such room"},
			{"room chat-team@example.org", 0, "Title: The team\nTopic: The roses are out.\n\nMEMBER"},
			{"pending carol@example.org", 0, "owed"},
			{"pending carol", 2, "as in carol@example.org"},
			{"devices dora@example.org", 0, "No device is known"},
			{"devices carol", 2, "as in carol@example.org"},
			{"devices dora@example.org team", 3, "not in the room"},
			{"@complete devices carol@example.org ", 0, "sip:chat-team@example.org\n"},
			{"remove chat-team@example.org bob", 3, "bob"},
			{"remove chat-team@example.org alice", 0, "alice was removed\n"},
			{"destroy chat-team@example.org -y", 0, "destroyed\n"},
			{"acts chat-team@example.org", 0, "operator  destroy"},
			{"acts chat-team@example.org --json", 0, `"act":"remove","user":"sip:alice@example.org"`},
			{"destroy chat-team@example.org -y", 3, "no such room"},
			{"frobnicate", 2, "frobnicate"},
			{"@complete members ", 0, "sip:chat-lobby@example.org\n"},
			{"@complete moderate sip:chat-lobby@example.org ", 0, "unban\n"},
			{"@complete moderate sip:chat-lobby@example.org ban ", 0, "sip:bob@example.org\n"},
			{"@complete set sip:chat-lobby@example.org ", 0, "joins\n"},
			{"@complete set sip:chat-lobby@example.org joins ", 0, "counted\n"},
			{"@complete role sip:chat-lobby@example.org ", 0, "sip:bob@example.org\n"},
			{"@complete role sip:chat-lobby@example.org bob ", 0, "admin\n"},
		} {
			args := append(words(l.command), door...)
			if strings.HasPrefix(l.command, "@complete") {
				args[0] = "__complete"  // what the shell calls
				args = append(args, "") // the word that is being typed
			}
			code, stdout, stderr := imcctl(environ, args...)
			said := stdout
			if l.code != 0 {
				said = stderr
			}
			if code != l.code || !strings.Contains(said, l.says) {
				t.Errorf("%s: exit code %d, output %q, error %q; want %d and %q", l.command, code, stdout, stderr, l.code, l.says)
			}
			if strings.HasSuffix(l.command, "--json") && !json.Valid([]byte(stdout)) {
				t.Errorf("%s: %q is no JSON", l.command, stdout)
			}
		}
		for _, text := range []string{"created", "alice has joined", "operator has set the topic: The roses are out.",
			"operator has set title to The team.", "alice is now admin", "alice is now owner",
			"[operator]: The gate is open.", "[alice]: from alice", "[operator]: Good night", "alice was removed",
			"destroyed by operator"} {
			_, err := carol.Wait(ctx, func(all []evapitest.Received) bool {
				return slices.ContainsFunc(all, func(r evapitest.Received) bool { return bytes.Contains(r.Body, []byte(text)) })
			})
			if err != nil {
				t.Errorf("carol did not hear %q: %v", text, err)
			}
		}
		carol.Clear()
	}
}

func TestSayFromStdin(t *testing.T) {
	_, i := start(t)
	var out, errs strings.Builder
	code := run([]string{"say", "chat-lobby@example.org", "-", "--rpc", i.RPCAddr()}, nil,
		strings.NewReader("two\nlines\n"), &out, &errs)
	if code != 0 {
		t.Fatal(errs.String())
	}
	if _, stdout, _ := imcctl(nil, "history", "chat-lobby@example.org", "--json", "--rpc",
		i.RPCAddr()); !strings.Contains(stdout, `"body":"two\nlines"`) {
		t.Errorf("the history is %s", stdout)
	}
}

// TestToken: an imcd with an rpc_token is asked with it, from a file or the
// environment.
func TestToken(t *testing.T) {
	const token = "0123456789abcdef"
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	i := standalone(t, "token", "IMCD_RPC_TOKEN="+token)
	for _, c := range []call{
		{nil, nil, 1, "rpc_token"},
		{map[string]string{tokenEnv: "0123456789abcdex"}, nil, 1, "rpc_token"},
		{map[string]string{tokenEnv: token}, nil, 0, "active_rooms"},
		{nil, []string{"--token-file", file}, 0, "active_rooms"},
		{nil, []string{"--token-file", file + "x"}, 2, "--token-file"},
	} {
		code, stdout, stderr := imcctl(c.environ, append([]string{"stats", "--rpc", i.RPCAddr()}, c.args...)...)
		if code != c.code || !strings.Contains(stdout+stderr, c.says) {
			t.Errorf("%v %v: exit code %d, %q, %q; want %d and %q", c.environ, c.args, code, stdout, stderr, c.code, c.says)
		}
	}
}

// TestSafe: what users write does nothing to the operator's terminal.
func TestSafe(t *testing.T) {
	for in, want := range map[string]string{
		"plain ü 日本": "plain ü 日本", "a\x1b[31mb": "a\ufffd[31mb", "a\tb\r\nc": "a b  c", "a\u202eb": "a\ufffdb",
		"\xff": "\ufffd", "\u009b1m": "\ufffd1m",
	} {
		if got := safe(in); got != want {
			t.Errorf("%q became %q, not %q", in, got, want)
		}
	}
}
