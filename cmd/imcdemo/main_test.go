package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"imcd/cmd/imcd/imcdtest"
	"imcd/cmd/internal/stack"
)

// bin is where TestMain puts the programs; written before any test
// runs.
var bin string

func TestMain(m *testing.M) { imcdtest.Main(m, &bin, build) }

func build(ctx context.Context, dir string) error {
	if _, err := stack.Build(ctx, dir); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", dir, "imcd/cmd/imcdemo",
		"imcd/cmd/imcctl").CombinedOutput()
	if err != nil {
		return fmt.Errorf("build imcdemo: %w\n%s", err, out)
	}
	return nil
}

func environment(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

// TestFleet: whatever fails, nothing is lost.
func TestFleet(t *testing.T) {
	var stdout, stderr bytes.Buffer
	code := run([]string{"-fleet", "-imcd", filepath.Join(bin, "imcd")}, environment(nil), &stdout, &stderr)
	if code != exitOK || stderr.Len() > 0 || !strings.HasSuffix(stdout.String(), "Nothing was lost.\n") {
		t.Errorf("exit code %d\n%s%s", code, stdout.String(), stderr.String())
	}
	if n := strings.Count(stdout.String(), "No room was without a 200 for longer than"); n != fleetSize+3 {
		t.Errorf("%d faults\n%s", n, stdout.String())
	}
}

func TestDemo(t *testing.T) {
	path, state := filepath.Join(bin, "imcd"), filepath.Join(t.TempDir(), "state")
	for range 2 {
		var stdout, stderr bytes.Buffer
		code := run([]string{"-imcd", path}, environment(map[string]string{"STATE_DIR": state}), &stdout, &stderr)
		if code != exitOK || stderr.Len() > 0 {
			t.Fatalf("exit code %d\n%s%s", code, stdout.String(), stderr.String())
		}
		for _, line := range []string{
			"  alice --> chat-garden    #create   (200 OK)\n",
			"  bob   <-- chat-surprise  *** alice invites you to room chat-surprise.",
			"Everybody got exactly what they should: 16 messages were sent, 27 received.\n",
		} {
			if !strings.Contains(stdout.String(), line) {
				t.Errorf("no %q in\n%s", line, stdout.String())
			}
		}
	}
	if left, err := os.ReadDir(state); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestDemoNotices makes sure that a system that misbehaves makes the demo fail.
func TestDemoNotices(t *testing.T) {
	wrapper := filepath.Join(t.TempDir(), "other-imcd")
	script := "#!/bin/sh\nIMCD_MESSAGE_FORMAT='{user} said {body}' exec " + filepath.Join(bin, "imcd") + "\n"
	if err := os.WriteFile(wrapper, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	code := run([]string{"-imcd", wrapper}, environment(nil), &stdout, &stderr)
	if code != exitError || !strings.Contains(stderr.String(), "bob did not receive from sip:chat-garden@") {
		t.Errorf("exit code %d\n%s", code, stderr.String())
	}
}

func TestUsage(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	used := strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		env  map[string]string
		code int
		want string
	}{
		{[]string{"-nonsense"}, nil, exitUsage, "Usage"},
		{[]string{"more"}, nil, exitUsage, "Usage"},
		{[]string{"-imcd", "/nowhere/imcd"}, nil, exitError, "imcd is not built"},
		{nil, map[string]string{"SIP_PORT": "abc"}, exitError, `SIP_PORT: "abc" is not a port`},
		{nil, map[string]string{"RPC_PORT": "0"}, exitError, "RPC_PORT"},
		{[]string{"-imcd", self}, map[string]string{"HTTP_PORT": used}, exitError, "HTTP_PORT: port " + used +
			" of 127.0.0.1 is in use"},
		{[]string{"-run", "-imcd", self}, map[string]string{"SIP_PORT": used, "STATE_DIR": t.TempDir()}, exitError,
			"set SIP_PORT to another"},
		{[]string{"-imcd", self}, map[string]string{"HTTP_PORT": "9", "RPC_PORT": "9"}, exitError,
			"RPC_PORT and HTTP_PORT are both 9"},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(c.args, environment(c.env), &stdout, &stderr); code != c.code ||
			!strings.Contains(stderr.String(), c.want) {
			t.Errorf("%v %v: exit code %d\n%s", c.args, c.env, code, stderr.String())
		}
	}
}
