package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imcd/cmd/imcd/imcdtest"
	"imcd/evapi/evapitest/kit"
)

// standalone starts an imcd without a Kamailio.
func standalone(t *testing.T, name string, environ ...string) *imcdtest.Imcd {
	t.Helper()
	i, err := imcdtest.Start(kit.Context(t), imcdtest.Options{Dir: bin, Name: name, Evapi: "127.0.0.1:1", Secret: "x",
		Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Stop(); err != nil {
			t.Error(err)
		}
	})
	return i
}

// TestRoomNames: a room may be named without its domain, and without what stands
// before the dash, if only one fits.
func TestRoomNames(t *testing.T) {
	i := standalone(t, "names")
	rooms := []string{"chat-a@one.example", "chat-a@two.example", "chat-b@one.example", "b@two.example",
		"team-c@one.example"}
	for _, room := range rooms {
		if code, _, stderr := imcctl(nil, "create", room, "--rpc", i.RPCAddr()); code != exitOK {
			t.Fatal(stderr)
		}
	}
	for name, want := range map[string]string{
		"chat-a@two.example":     "sip:chat-a@two.example",
		"sip:chat-a@two.example": "sip:chat-a@two.example",
		"chat-b":                 "sip:chat-b@one.example",
		"Chat-B":                 "sip:chat-b@one.example",
		"b":                      "sip:b@two.example", // what it is goes before what it ends with
		"c":                      "sip:team-c@one.example",
	} {
		code, stdout, stderr := imcctl(nil, "members", name, "--rpc", i.RPCAddr())
		if code != exitOK || !strings.Contains(stdout, want+" (0)") {
			t.Errorf("%s: %d %q %q, want %s", name, code, stdout, stderr, want)
		}
	}
	several := "several rooms fit chat-a, give the domain: sip:chat-a@one.example, sip:chat-a@two.example"
	for _, command := range []string{"members", "room", "history", "add", "remove", "role", "say", "destroy"} {
		more := map[string][]string{"add": {"x"}, "remove": {"x"}, "role": {"x", "admin"}, "say": {"x"},
			"destroy": {"--yes"}}[command]
		ask := func(room string) []string { return append([]string{command, room, "--rpc", i.RPCAddr()}, more...) }
		checkError(t, nil, ask("chat-a"), exitUsage, several)
		checkError(t, nil, ask("at"), exitNotFound, "no such room: at")
	}
}

// TestDestroyAsks: on a terminal, nothing is destroyed until the room's name has been
// typed.
func TestDestroyAsks(t *testing.T) {
	i := standalone(t, "destroy")
	for _, c := range []struct {
		typed string
		code  int
	}{
		{"", exitError}, {"y\n", exitError}, {"yes\n", exitError}, {"chat-other\n", exitError},
		{strings.Repeat("x", 1<<20), exitError}, {"chat-x\n", exitOK}, {"chat-X", exitOK},
		{" chat-x@example.org \r\n", exitOK}, {"sip:chat-x@example.org\n", exitOK},
	} {
		if code, _, stderr := imcctl(nil, "create", "chat-x@example.org", "--rpc", i.RPCAddr()); code != exitOK {
			t.Fatal(stderr)
		}
		var out, errs strings.Builder
		tool := &tool{in: strings.NewReader(c.typed), out: &out, errs: &errs, terminal: func() bool { return true }}
		code := tool.run([]string{"destroy", "x", "--rpc", i.RPCAddr()})
		if code != c.code || !strings.Contains(errs.String(), "Type chat-x to go on: ") {
			t.Errorf("%.20q: %d %q %q", c.typed, code, out.String(), errs.String())
		}
		code, _, _ = imcctl(nil, "members", "x", "--rpc", i.RPCAddr())
		if gone := code == exitNotFound; gone != (c.code == exitOK) {
			t.Errorf("%.20q: the room is gone: %v", c.typed, gone)
		}
		imcctl(nil, "destroy", "x", "--yes", "--rpc", i.RPCAddr())
	}
}

// TestInstalled: addresses and token come from imcd's configuration, the usual one or
// that of -c; only what a flag says is asked elsewhere, and then without the token.
func TestInstalled(t *testing.T) {
	const token = "a-token-of-some-length"
	dir := t.TempDir()
	i := standalone(t, "installed", "IMCD_RPC_TOKEN="+token)
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("imcd.yaml", fmt.Sprintf("rpc_listen: %q\nhttp_listen: %q\nrpc_token_file: %s\n"+
		"evapi_secret_file: /not/for/imcctl\nnews: 1\n", i.RPCAddr(), i.HTTPAddr(), write("rpc_token", token+"\n")))
	inline := write("inline.yaml", fmt.Sprintf("rpc_listen: %q\nrpc_token: %s\n", i.RPCAddr(), token))
	unreadable := write("unreadable.yaml", fmt.Sprintf("rpc_listen: %q\nrpc_token_file: %s\n", i.RPCAddr(),
		filepath.Join(dir, "none")))
	for _, c := range []struct {
		usual string
		args  []string
		code  int
		says  string
	}{
		{good, []string{"stats"}, exitOK, "active_rooms"},
		{inline, []string{"stats"}, exitOK, "active_rooms"},
		{"", []string{"stats", "-c", good}, exitOK, "active_rooms"},
		{good, []string{"stats", "--rpc", i.RPCAddr()}, exitOK, "active_rooms"},
		{unreadable, []string{"stats"}, exitError, "rpc_token"},
		{good, []string{"stats", "--rpc", "127.0.0.1:1"}, exitError, "is imcd running at 127.0.0.1:1"},
		{good, []string{"watch", "--events", "massage"}, exitError, "there is no event"},
		{write("bad.yaml", "rpc_listen: ["), []string{"stats"}, exitUsage, "bad.yaml"},
		{filepath.Join(dir, "none.yaml"), []string{"stats", "--rpc", i.RPCAddr()}, exitError, "rpc_token"},
	} {
		var out, errs strings.Builder
		tool := &tool{usual: c.usual, in: strings.NewReader(""), out: &out, errs: &errs}
		if code := tool.run(c.args); code != c.code || !strings.Contains(out.String()+errs.String(), c.says) {
			t.Errorf("%s %v: %d %q %q, want %d and %q", filepath.Base(c.usual), c.args, code, out.String(),
				errs.String(), c.code, c.says)
		}
	}
}

// TestHiddenConfiguration: somebody who may not read the configuration, and so not the token,
// learns who may.
func TestHiddenConfiguration(t *testing.T) {
	i := standalone(t, "hidden", "IMCD_RPC_TOKEN=a-token-of-some-length")
	usual := filepath.Join(t.TempDir(), "imcd.yaml")
	for _, args := range [][]string{{"stats", "--rpc", i.RPCAddr()}, {"watch", "--http", i.HTTPAddr()}} {
		var errs strings.Builder
		// The tests may run as root, who may read everything.
		tool := &tool{usual: usual, hidden: true, in: strings.NewReader(""), out: &errs, errs: &errs}
		if code := tool.run(args); code != exitError || !strings.Contains(errs.String(), usual+" has it for root") {
			t.Errorf("%v: %d %q", args, code, errs.String())
		}
	}
}

// TestInstalledAddresses: every form in which the configuration can name addresses.
func TestInstalledAddresses(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ yaml, want string }{
		{"", "127.0.0.1:8449 127.0.0.1:8450 [127.0.0.1:8448]"},
		{"rpc_listen: ':1'\nhttp_listen: '[::]:2'\nevapi: a:3,b:4 , ", "127.0.0.1:1 127.0.0.1:2 [a:3 b:4]"},
		{"rpc_listen: 0.0.0.0:1\nhttp_listen: 192.0.2.1:2\nevapi:\n- a:3\n- {addr: 'b:4', secret: x}\n- 7",
			"127.0.0.1:1 192.0.2.1:2 [a:3 b:4]"},
	} {
		path := filepath.Join(dir, "imcd.yaml")
		if err := os.WriteFile(path, []byte(c.yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		known, err := (&tool{config: path}).installed()
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(known.rpc, " ", known.http, " ", known.evapi); got != c.want {
			t.Errorf("%q: %s, want %s", c.yaml, got, c.want)
		}
	}
}
