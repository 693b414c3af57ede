package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"imcd/cmd/imcd/imcdtest"
	"imcd/cmd/imcd/internal/config"
	"imcd/evapi"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/child"
	"imcd/evapi/evapitest/kit"
)

// bin is where TestMain puts the programs; written before any test runs.
var bin string

func TestMain(m *testing.M) { imcdtest.Main(m, &bin, imcdtest.Build) }

// imcd runs the program to its end.
func imcd(t *testing.T, environ []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(kit.Context(t), filepath.Join(bin, "imcd"), args...)
	cmd.Dir = t.TempDir()
	cmd.Env = imcdtest.Environ(environ...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func TestStartErrors(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	secret := "--evapi_secret=x"
	yes := filepath.Join(t.TempDir(), "imcd.yaml")
	if err := os.WriteFile(yes, []byte("hash_sise: 4\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		environ []string
		args    []string
		code    int
		names   string // what the error has to name
	}{
		"no secret":           {nil, nil, 1, "evapi_secret"},
		"unknown key":         {nil, []string{"-c", yes, secret}, 1, "hash_sise"},
		"unknown variable":    {[]string{"IMCD_HASH_SISE=4"}, []string{secret}, 1, "IMCD_HASH_SISE"},
		"unknown flag":        {nil, []string{"--hash_sise=4"}, 2, "hash_sise"},
		"unknown short flag":  {nil, []string{"-z"}, 2, "-z"},
		"argument":            {nil, []string{"start"}, 2, "start"},
		"flag without value":  {nil, []string{"-c"}, 2, "c"},
		"bad value":           {nil, []string{secret, "-hash_size", "x"}, 1, "--hash_size"},
		"bad value, checked":  {nil, []string{"-check", secret, "--log_level=loud"}, 1, "log_level"},
		"no file":             {nil, []string{"-c", "/does/not/exist.yaml", secret}, 1, "/does/not/exist.yaml"},
		"no database":         {nil, []string{secret, "--db_url", "postgres://u:hunter2@127.0.0.1:1/x"}, 1, "db_url"},
		"database is no file": {nil, []string{secret, "--db_url", "sqlite:///dev/null/x"}, 1, "db_url"},
		"RPC port taken": {nil, []string{secret, "--http_listen=", "--rpc_listen", busy.Addr().String()}, 1,
			"rpc_listen"},
		"HTTP port taken": {nil, []string{secret, "--rpc_listen=", "--http_listen", busy.Addr().String()}, 1,
			"http_listen"},
		"state_dir": {nil, []string{secret, "--state_dir", "/proc/no"}, 1, "state_dir"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := imcd(t, c.environ, c.args...)
			if code != c.code || stdout != "" {
				t.Errorf("exit code %d, output %q; want %d and none", code, stdout, c.code)
			}
			if strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "imcd: ") ||
				!strings.Contains(stderr, c.names) || strings.Contains(stderr, "hunter2") {
				t.Errorf("the error is %q, should be one line that names %s", stderr, c.names)
			}
		})
	}
}

func TestAnswersWithoutStarting(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-version"}, "imcd dev\n"},
		{[]string{"--version"}, "imcd dev\n"},
		{[]string{"-print-config"}, config.Sample()},
		{[]string{"-check", "-evapi_secret=x"}, ""},
	} {
		if code, stdout, stderr := imcd(t, nil, c.args...); code != 0 || stdout != c.want || stderr != "" {
			t.Errorf("%v: exit code %d, output %q, error %q", c.args, code, stdout, stderr)
		}
	}
	if code, stdout, _ := imcd(t, nil, "-help"); code != 0 || !strings.Contains(stdout, "--hash_size") {
		t.Errorf("-help: exit code %d, output %q", code, stdout)
	}
}

// TestSampleStarts: what -print-config prints is a file that imcd runs with.
func TestSampleStarts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "imcd.yaml")
	if err := os.WriteFile(file, []byte(config.Sample()), 0o600); err != nil {
		t.Fatal(err)
	}
	i := startImcd(t, imcdtest.Options{Evapi: "127.0.0.1:1", Secret: "x", Args: []string{"-c", file}})
	if err := i.Stop(); err != nil {
		t.Error(err)
	}
}

// TestSecondSignal: who asks twice does not want to wait.
func TestSecondSignal(t *testing.T) {
	i := startImcd(t, imcdtest.Options{Evapi: "127.0.0.1:1", Secret: "x", AnyExit: true})
	for range 2 {
		if err := i.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-i.Done():
	case <-kit.Context(t).Done():
		t.Fatal("imcd did not end")
	}
}

// TestStopOfTheKit: an imcd that does not end when a test stops it does not make the test hang: it shows what it does.
func TestStopOfTheKit(t *testing.T) {
	i := startImcd(t, imcdtest.Options{Evapi: "127.0.0.1:1", Secret: "x", AnyExit: true, Patience: 50 * time.Millisecond})
	if err := i.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	err := i.Stop()
	if err == nil || !strings.Contains(err.Error(), "did not end within 50ms") ||
		!strings.Contains(i.Log(), "\ngoroutine 1 ") {
		t.Errorf("%v\n%s", err, i.Log())
	}
}

// TestLogReaderGone: who reads the log may end before imcd does.
func TestLogReaderGone(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close() // what is written from now on is a SIGPIPE
	ports, err := evapitest.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", ports[0])
	cmd := exec.CommandContext(kit.Context(t), filepath.Join(bin, "imcd"), "--evapi=127.0.0.1:1", "--evapi_secret=x",
		"--rpc_listen="+addr, "--http_listen=")
	cmd.Dir, cmd.Env, cmd.Stderr = t.TempDir(), imcdtest.Environ(), w
	p, err := child.Start(cmd, false)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	ctx := kit.Context(t)
	c, err := evapi.Dial(ctx, addr, "")
	for err != nil && ctx.Err() == nil {
		<-time.After(10 * time.Millisecond)
		c, err = evapi.Dial(ctx, addr, "")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Call(ctx, "imc.stats", nil, nil); err != nil {
		t.Error(err)
	}
	if err := p.End(syscall.SIGTERM, child.Patience); err != nil {
		t.Fatal(err)
	}
	if err := p.Err(); err != nil {
		t.Errorf("imcd ended with %v", err)
	}
}

// startImcd starts an imcd that ends with the test.
func startImcd(t *testing.T, opts imcdtest.Options) *imcdtest.Imcd {
	t.Helper()
	opts.Dir, opts.Name = bin, strings.ReplaceAll(t.Name(), "/", "_")
	return imcdtest.Run(t, opts)
}
