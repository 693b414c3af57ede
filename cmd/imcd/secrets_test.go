package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imcd/cmd/imcd/imcdtest"
	"imcd/evapi"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// TestCheckWarns: -check says what is not wise, and is content all the same.
func TestCheckWarns(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[os.FileMode]string{0o600: "", 0o644: "imcd: warning: " + file + " has a secret in it"} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		code, stdout, stderr := imcd(t, nil, "-check", "--evapi_secret_file", file)
		if code != 0 || stdout != "" || !strings.HasPrefix(stderr, want) || (want == "") != (stderr == "") ||
			strings.Contains(stderr, "hunter2") {
			t.Errorf("mode %o: exit code %d, output %q, error %q", mode, code, stdout, stderr)
		}
	}
}

// TestSecretsOnTheCommandLine: a secret that was given as a flag cannot be read
// from the list of processes once imcd is up, and counts all the same.
func TestSecretsOnTheCommandLine(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	// imcdtest gives the secret as a flag.
	i := startImcd(t, imcdtest.Options{Evapi: k.EvapiAddr(), Secret: k.Secret(),
		Args:    []string{"-hash_size", "3"},
		Environ: []string{"IMCD_EVAPI_SECRET=wrong", "DB_URL=postgres://u:p@127.0.0.1:1/x"},
		DBURL:   "sqlite://" + filepath.Join(t.TempDir(), "hunter2@x.db")})
	if err := i.AwaitReady(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", i.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{k.Secret(), "hunter2"} {
		if bytes.Contains(line, []byte(secret)) {
			t.Errorf("the command line shows %q: %q", secret, line)
		}
	}
	if !bytes.Contains(line, []byte("--hash_size=3\x00")) {
		t.Errorf("the command line has lost what is no secret: %q", line)
	}
	c, err := evapi.Dial(kit.Context(t), i.RPCAddr(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Call(kit.Context(t), "imc.stats", nil, nil); err != nil {
		t.Error(err)
	}
	if strings.Contains(i.Log(), k.Secret()) || strings.Contains(i.Log(), "hunter2") {
		t.Errorf("a secret is in the log:\n%s", i.Log())
	}
}
