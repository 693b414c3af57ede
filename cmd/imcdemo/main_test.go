package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// build compiles imcd and imcdemo into one folder.
func build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := stack.Build(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", dir, "imcd/cmd/imcdemo").CombinedOutput()
	if err != nil {
		t.Fatalf("build imcdemo: %v\n%s", err, out)
	}
	return dir
}

func environment(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func TestDemo(t *testing.T) {
	dir := t.TempDir()
	path, err := stack.Build(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state")
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
	dir := t.TempDir()
	if _, err := stack.Build(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	wrapper := filepath.Join(dir, "other-imcd")
	script := "#!/bin/sh\nIMCD_MESSAGE_FORMAT='{user} said {body}' exec " + filepath.Join(dir, "imcd") + "\n"
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
		{[]string{"-imcd", self}, map[string]string{"HTTP_PORT": used}, exitError, "HTTP_PORT: port " + used + " of 127.0.0.1 is in use"},
		{[]string{"-run", "-imcd", self}, map[string]string{"SIP_PORT": used, "STATE_DIR": t.TempDir()}, exitError, "set SIP_PORT to another"},
		{[]string{"-imcd", self}, map[string]string{"HTTP_PORT": "9", "RPC_PORT": "9"}, exitError, "RPC_PORT and HTTP_PORT are both 9"},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(c.args, environment(c.env), &stdout, &stderr); code != c.code || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("%v %v: exit code %d\n%s", c.args, c.env, code, stderr.String())
		}
	}
}

// foreground is a running imcdemo -run.
type foreground struct {
	*exec.Cmd
	ports []int
	out   bytes.Buffer
}

func startForeground(t *testing.T, dir string) *foreground {
	t.Helper()
	ports, err := evapitest.FreePorts(4)
	if err != nil {
		t.Fatal(err)
	}
	f := &foreground{Cmd: exec.Command(filepath.Join(dir, "imcdemo"), "-run"), ports: ports}
	f.Env = append(os.Environ(), "STATE_DIR="+filepath.Join(t.TempDir(), "run"), "GORACE=atexit_sleep_ms=0")
	for i, name := range []string{"SIP_PORT", "EVAPI_PORT", "RPC_PORT", "HTTP_PORT"} {
		f.Env = append(f.Env, fmt.Sprintf("%s=%d", name, ports[i]))
	}
	f.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
	f.Stderr = &f.out
	stdout, err := f.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-f.Process.Pid, syscall.SIGKILL) })
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if lines.Text() == "ready" {
			return f
		}
	}
	t.Fatalf("it is not ready: %v\n%s", f.Wait(), f.out.String())
	return nil
}

// group lists the processes of a process group and session: names by id.
func group(t *testing.T, leader int) map[int]string {
	t.Helper()
	names := make(map[int]string)
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // gone meanwhile
		}
		pid, rest, _ := strings.Cut(string(text), " (")
		name, rest, _ := strings.Cut(rest, ") ")
		fields := strings.Fields(rest)
		id := strconv.Itoa(leader)
		if len(fields) > 3 && fields[0] != "Z" && fields[2] == id && fields[3] == id {
			n, err := strconv.Atoi(pid)
			if err != nil {
				t.Fatal(err)
			}
			names[n] = name
		}
	}
	return names
}

// awaitGone waits until nothing is left of a process group: what was killed may
// take a moment to go.
func awaitGone(t *testing.T, leader int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for left := group(t, leader); len(left) > 0; left = group(t, leader) {
		if sleep(ctx, poll) != nil {
			t.Fatalf("still running: %v", left)
		}
	}
}

func TestForeground(t *testing.T) {
	dir := build(t)
	for name, end := range map[string]func(pid int) error{
		"Ctrl-C":      func(pid int) error { return syscall.Kill(-pid, syscall.SIGINT) },
		"SIGTERM":     func(pid int) error { return syscall.Kill(pid, syscall.SIGTERM) },
		"SIGTERM all": func(pid int) error { return syscall.Kill(-pid, syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			f := startForeground(t, dir)
			names := slices.Collect(maps.Values(group(t, f.Process.Pid)))
			for _, want := range []string{"imcdemo", "imcd", "kamailio"} {
				if !slices.Contains(names, want) {
					t.Errorf("%s is not in the process group: %v", want, names)
				}
			}
			talk(t, f.ports[0])
			if err := end(f.Process.Pid); err != nil {
				t.Fatal(err)
			}
			if err := f.Wait(); err != nil {
				t.Errorf("%v\n%s", err, f.out.String())
			}
			awaitGone(t, f.Process.Pid)
			for _, port := range f.ports {
				if err := listen(port, true); err != nil {
					t.Errorf("port %d is still in use: %v", port, err)
				}
			}
		})
	}
}

// talk lets a user make a room and say something in it.
func talk(t *testing.T, port int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	alice, err := evapitest.NewUA(evapitest.UAConfig{User: "alice", Proxy: loopback(port)})
	if err != nil {
		t.Fatal(err)
	}
	defer alice.Close()
	if err := alice.Register(ctx); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"#create", "hello", "#list"} {
		if res, err := alice.Say(ctx, "sip:chat-x@"+loopback(port), text); err != nil || res.StatusCode != 200 {
			t.Errorf("%s: %v %v", text, res, err)
		}
	}
	if got, err := alice.WaitN(ctx, 2); err != nil || !strings.Contains(got[1].Text(), "*[alice]") {
		t.Errorf("received %v: %v", got, err)
	}
}

func TestImcdThatEnds(t *testing.T) {
	dir := build(t)
	f := startForeground(t, dir)
	for pid, name := range group(t, f.Process.Pid) {
		if name != "imcd" {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Wait(); err == nil || !strings.Contains(f.out.String(), "imcd has ended by itself") {
		t.Errorf("%v\n%s", err, f.out.String())
	}
	awaitGone(t, f.Process.Pid)
}
