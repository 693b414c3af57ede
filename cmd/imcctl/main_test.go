package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imcd/cmd/imcd/imcdtest"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// bin is where TestMain puts the programs; written before any test runs.
var bin string

func TestMain(m *testing.M) { imcdtest.Main(m, &bin, imcdtest.Build) }

// imcctl runs the tool with an environment of its own.
func imcctl(environ map[string]string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	var list []string
	for name, value := range environ {
		list = append(list, name+"="+value)
	}
	code = run(args, list, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// start starts Kamailio and imcd with one room of two members.
func start(t *testing.T) (*evapitest.Kamailio, *imcdtest.Imcd) {
	t.Helper()
	k := kit.Kamailio(t, evapitest.Options{})
	i := imcdtest.Beside(t, k, imcdtest.Options{Dir: bin})
	for _, c := range []struct{ user, command string }{{"alice", "#create"}, {"bob", "#join"}} {
		u := kit.Registered(t, k, evapitest.UAConfig{User: c.user, Domain: "example.org"})
		kit.Say(t, u, "sip:chat-lobby@example.org", c.command, 200)
	}
	return k, i
}

func TestOutput(t *testing.T) {
	k, i := start(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(k.OperatorSecret()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, door := range []struct {
		name    string
		environ map[string]string
		args    []string
	}{
		{"rpc", nil, []string{"--rpc", i.RPCAddr()}},
		{"evapi, secret from a file", nil, []string{"--evapi", k.EvapiAddr(), "--secret-file", secret}},
		{"evapi, secret from the environment", map[string]string{secretEnv: k.OperatorSecret()},
			[]string{"--evapi", k.EvapiAddr()}},
	} {
		for command, want := range map[string]string{
			"rooms": "ROOM                        MEMBERS  OWNER\nsip:chat-lobby@example.org  2        " +
				"sip:alice@example.org\n",
			"rooms --json": `[{"room":"sip:chat-lobby@example.org","members":2,"owner":"sip:alice@example.org"}]` +
				"\n",
			"stats":                  "\nactive_rooms   1\n",
			"stats --json":           `"active_rooms":1`,
			"--version":              "imcctl version dev\n",
			"members -h":             "imcctl members ROOM",
			"members chat-LOBBY":     "MEMBER OF sip:chat-lobby@example.org (2)\n",
			"members sip:chat-lobby": "MEMBER OF sip:chat-lobby@example.org (2)\n",
			"members lobby":          "MEMBER OF sip:chat-lobby@example.org (2)\n",
			"room lobby":             "sip:alice@example.org  owner",
			"members sip:chat-lobby@example.org": "MEMBER OF sip:chat-lobby@example.org (2)\n" +
				"sip:alice@example.org\nsip:bob@example.org\n",
		} {
			code, stdout, stderr := imcctl(door.environ, append(strings.Fields(command), door.args...)...)
			if code != exitOK || !strings.Contains(stdout, want) || stderr != "" {
				t.Errorf("%s, %s: exit code %d, output %q, error %q; want %q", door.name, command, code, stdout, stderr, want)
			}
			if strings.Contains(command, "--json") && !json.Valid([]byte(stdout)) {
				t.Errorf("%s, %s: %q is no JSON", door.name, command, stdout)
			}
		}
	}
	for _, c := range []call{
		{nil, []string{"members", "sip:chat-none@example.org", "--rpc", i.RPCAddr()}, exitNotFound, "no such room"},
		{nil, []string{"members", "obby", "--rpc", i.RPCAddr()}, exitNotFound,
			"no such room: obby (imcctl rooms lists them)"},
		{map[string]string{secretEnv: "wrong"}, []string{"rooms", "--evapi", k.EvapiAddr(), "--timeout", "300ms"}, exitError,
			"secret may be wrong"},
	} {
		checkError(t, c.environ, c.args, c.code, c.says)
	}
}

// call is a call of imcctl, and what is expected of it.
type call struct {
	environ map[string]string
	args    []string
	code    int
	says    string // a part of what it prints
}

func checkError(t *testing.T, environ map[string]string, args []string, wantCode int, says string) {
	t.Helper()
	code, stdout, stderr := imcctl(environ, args...)
	if code != wantCode || stdout != "" || strings.Count(stderr, "\n") != 1 ||
		!strings.HasPrefix(stderr, "imcctl: ") || !strings.Contains(stderr, says) {
		t.Errorf("%v: exit code %d, output %q, error %q; want %d and one line with %q", args, code, stdout, stderr, wantCode,
			says)
	}
}

func TestErrors(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := closed.Addr().String()
	closed.Close()
	mute, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	secret := map[string]string{secretEnv: "x"}
	for _, c := range []call{
		{nil, []string{"rooms", "--rpc", addr}, exitError, "is imcd running at " + addr},
		{secret, []string{"rooms", "--evapi", addr}, exitError, "is Kamailio's evapi socket at " + addr},
		{nil, []string{"rooms", "--rpc", mute.Addr().String(), "--timeout", "50ms"}, exitError, "no answer in time"},
		{nil, nil, exitUsage, "which command"},
		{nil, []string{"frobnicate"}, exitUsage, "frobnicate"},
		{nil, []string{"rooms", "x", "y"}, exitUsage, "1 arg"},
		{nil, []string{"members"}, exitUsage, "1 arg"},
		{nil, []string{"members", "a", "b"}, exitUsage, "1 arg"},
		{nil, []string{"rooms", "--colour"}, exitUsage, "--colour"},
		{nil, []string{"rooms", "--timeout", "soon"}, exitUsage, "timeout"},
		{nil, []string{"rooms", "--rpc", "a:1", "--evapi", "b:1"}, exitUsage, "evapi"},
		{nil, []string{"rooms", "--evapi", "a:1"}, exitUsage, "secret"},
		{nil, []string{"rooms", "--evapi", "a:1", "--secret-file", "/does/not/exist"}, exitUsage, "/does/not/exist"},
		{nil, []string{"rooms", "--evapi", "a:1", "--secret-file", empty}, exitUsage, "empty"},
		{nil, []string{"destroy", "chat-x@example.org"}, exitUsage, "say --yes"},
		{nil, []string{"rooms", "-c", "/does/not/exist"}, exitUsage, "-c: open /does/not/exist"},
	} {
		checkError(t, c.environ, c.args, c.code, c.says)
	}
}
