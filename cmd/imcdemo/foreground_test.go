package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/child"
	"imcd/evapi/evapitest/kit"
)

// foreground is a running imcdemo -run.
type foreground struct {
	*child.Child
	ports []int
	state string     // STATE_DIR
	said  string     // its standard output, until it is ready
	out   kit.Output // its standard error; complete when it has ended
}

// startForeground starts imcdemo -run, or another command that does, in a session and
// process group of its own, and waits until it is ready.
func startForeground(t *testing.T, command ...string) *foreground {
	t.Helper()
	if len(command) == 0 {
		command = []string{filepath.Join(bin, "imcdemo"), "-run"}
	}
	ports, err := evapitest.FreePorts(4)
	if err != nil {
		t.Fatal(err)
	}
	f := &foreground{ports: ports, state: filepath.Join(t.TempDir(), "run")}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "STATE_DIR="+f.state, "GORACE=atexit_sleep_ms=0")
	for i, name := range []string{"SIP_PORT", "EVAPI_PORT", "RPC_PORT", "HTTP_PORT"} {
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", name, ports[i]))
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.WaitDelay = child.Patience // all of its processes may write
	stdout, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdout.Close() })
	cmd.Stdout, cmd.Stderr = w, &f.out
	f.Child, err = child.Start(cmd, false)
	w.Close() // the process has its own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.SignalGroup(syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	})
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		f.said += lines.Text() + "\n"
		if lines.Text() == "ready" {
			return f
		}
	}
	t.Fatalf("it is not ready: %v\n%s", f.wait(t), f.out.String())
	return nil
}

// wait waits until it has ended and all that it wrote is there, and returns how it ended.
func (f *foreground) wait(t *testing.T) error {
	t.Helper()
	if err := f.Await(2 * child.Patience); err != nil {
		t.Fatalf("%v\n%s", err, f.out.String())
	}
	return f.Err()
}

// end ends it as Ctrl-C does and waits.
func (f *foreground) end(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(-f.Pid, syscall.SIGINT); err != nil {
		t.Error(err)
	}
	if err := f.wait(t); err != nil {
		t.Errorf("%v\n%s", err, f.out.String())
	}
	awaitGone(t, f.Pid)
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
		if stack.Pause(ctx, poll) != nil {
			t.Fatalf("still running: %v", left)
		}
	}
}

func TestForeground(t *testing.T) {
	for name, end := range map[string]func(pid int) error{
		"Ctrl-C":      func(pid int) error { return syscall.Kill(-pid, syscall.SIGINT) },
		"SIGTERM":     func(pid int) error { return syscall.Kill(pid, syscall.SIGTERM) },
		"SIGTERM all": func(pid int) error { return syscall.Kill(-pid, syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			f := startForeground(t)
			names := slices.Collect(maps.Values(group(t, f.Pid)))
			for _, want := range []string{"imcdemo", "imcd", "kamailio"} {
				if !slices.Contains(names, want) {
					t.Errorf("%s is not in the process group: %v", want, names)
				}
			}
			talk(t, f.ports[0])
			if err := end(f.Pid); err != nil {
				t.Fatal(err)
			}
			if err := f.wait(t); err != nil {
				t.Errorf("%v\n%s", err, f.out.String())
			}
			awaitGone(t, f.Pid)
			for _, port := range f.ports {
				awaitFree(t, port)
			}
		})
	}
}

// talk lets a user make a room and say something in it.
func talk(t *testing.T, port int) {
	t.Helper()
	ctx := kit.Context(t)
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
	if got, err := alice.WaitN(ctx, 2); err != nil || !strings.Contains(got[1].Text(), "*alice (owner)") {
		t.Errorf("received %v: %v", got, err)
	}
}

func TestImcdThatEnds(t *testing.T) {
	f := startForeground(t)
	for pid, name := range group(t, f.Pid) {
		if name != "imcd" {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.wait(t); err == nil || !strings.Contains(f.out.String(), "imcd has ended by itself") {
		t.Errorf("%v\n%s", err, f.out.String())
	}
	awaitGone(t, f.Pid)
}

// awaitFree waits until nobody listens at a port: what was killed takes a moment to end.
func awaitFree(t *testing.T, port int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for err := listen(port, true); err != nil; err = listen(port, true) {
		if stack.Pause(ctx, poll) != nil {
			t.Fatalf("port %d is still in use: %v", port, err)
		}
	}
}

// TestKilled: who is killed takes everything along: the demonstration alone, and the
// process that started it, which make is.
func TestKilled(t *testing.T) {
	demo := filepath.Join(bin, "imcdemo")
	for name, command := range map[string][]string{
		"imcdemo": {demo, "-run"},
		"make":    {"sh", "-c", `"$0" -run -parent $$ & wait`, demo},
	} {
		t.Run(name, func(t *testing.T) {
			f := startForeground(t, command...)
			if err := syscall.Kill(f.Pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			_ = f.wait(t) // killed
			awaitGone(t, f.Pid)
			for _, port := range f.ports {
				awaitFree(t, port)
			}
		})
	}
}

// TestMakeRun: make starts the demonstration in the way that TestKilled tries, from
// any folder.
func TestMakeRun(t *testing.T) {
	out, err := exec.CommandContext(kit.Context(t), "make", "-C", "../..", "-n", "run", "VERSION=x").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "exec bin/imcdemo -run -parent $PPID\n") {
		t.Errorf("%v\n%s", err, out)
	}
	var stderr bytes.Buffer
	imcd := filepath.Join(bin, "imcd")
	code := run([]string{"-run", "-parent", "1", "-imcd", imcd}, environment(nil), io.Discard, &stderr)
	if code != exitError || !strings.Contains(stderr.String(), "-parent") {
		t.Errorf("%d %s", code, stderr.String())
	}
}
