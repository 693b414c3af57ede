// Package imcdtest builds imcd and runs it as its users do: as a process of its
// own, on free ports of 127.0.0.1.
package imcdtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/child"
	"imcd/evapi/evapitest/kit"
)

// poll is how often a state that nobody announces is looked at.
const poll = 10 * time.Millisecond

// Build compiles imcd and imcctl into dir; with the race detector, if the caller
// has it. The current directory must be in this module.
func Build(ctx context.Context, dir string) error {
	args := []string{"build", "-buildvcs=false", "-o", dir + string(filepath.Separator)}
	if raceDetector {
		args = append(args, "-race")
	}
	out, err := exec.CommandContext(ctx, "go", append(args, "imcd/cmd/imcd", "imcd/cmd/imcctl")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("building imcd: %w\n%s", err, out)
	}
	return nil
}

// Options of an imcd.
type Options struct {
	Dir     string   // where Build put it; its state_dir is made there, too, if StateDir is empty
	Secret  string   // evapi_secret
	Evapi   string   // host:port of Kamailio
	Name    string   // of the state_dir under Dir; empty: "state"
	DBURL   string   // empty: SQLite in the state_dir
	Args    []string // more flags
	Environ []string // more variables; nothing is inherited but PATH, HOME and TMPDIR
	AnyExit bool     // for Run: only the test looks at the exit code

	Patience time.Duration // how long imcd may take to end; 0: child.Patience
}

// Imcd is a running imcd.
type Imcd struct {
	opts      Options
	rpc, http int

	proc   *child.Child
	log    kit.Output
	killed bool // the last run was ended by Kill
}

// Start starts imcd and waits until it is alive, which it is before it is
// connected to Kamailio. The caller must end it, by Stop or Kill.
func Start(ctx context.Context, opts Options) (*Imcd, error) {
	ports, err := evapitest.FreePorts(2)
	if err != nil {
		return nil, fmt.Errorf("ports for imcd: %w", err)
	}
	if opts.Name == "" {
		opts.Name = "state"
	}
	i := &Imcd{opts: opts, rpc: ports[0], http: ports[1]}
	return i, i.Start(ctx)
}

// Start starts an imcd that has ended again, on the same ports and database.
func (i *Imcd) Start(ctx context.Context) error {
	args := []string{
		"--rpc_listen", i.RPCAddr(), "--http_listen", i.HTTPAddr(),
		"--state_dir", filepath.Join(i.opts.Dir, i.opts.Name),
		"--evapi", i.opts.Evapi, "--evapi_secret", i.opts.Secret, "--log_level", "debug",
	}
	if i.opts.DBURL != "" {
		args = append(args, "--db_url", i.opts.DBURL)
	}
	cmd := exec.Command(filepath.Join(i.opts.Dir, "imcd"), append(args, i.opts.Args...)...)
	cmd.Env = Environ(i.opts.Environ...)
	cmd.Stderr = &i.log
	var err error
	if i.proc, err = child.Start(cmd, false); err != nil {
		return err
	}
	i.killed = false
	if err := i.Await(ctx, "/healthz", http.StatusOK); err != nil {
		return errors.Join(err, i.Kill())
	}
	return nil
}

// Environ is what a process needs of our environment, with more added.
func Environ(more ...string) []string {
	// A program with the race detector else waits a second before it exits.
	env := []string{"GORACE=atexit_sleep_ms=0"}
	for _, name := range []string{"PATH", "HOME", "TMPDIR"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return append(env, more...)
}

// Await waits until GET path on the HTTP port is answered with code.
func (i *Imcd) Await(ctx context.Context, path string, code int) error {
	got := errors.New("no answer")
	for {
		status, err := i.get(ctx, path)
		if err == nil && status == code {
			return nil
		}
		if err == nil {
			got = fmt.Errorf("status %d", status)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %d from %s, last was %w\n%s", code, path, got, i.Log())
		case <-i.proc.Done():
			return fmt.Errorf("imcd has ended with exit code %d\n%s", i.ExitCode(), i.Log())
		case <-time.After(poll):
		}
	}
}

func (i *Imcd) get(ctx context.Context, path string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+i.HTTPAddr()+path, nil)
	if err != nil {
		return 0, fmt.Errorf("request for %s: %w", path, err)
	}
	req.Close = true // a kept connection would keep a goroutine
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}

// AwaitReady waits until imcd has its database and a Kamailio.
func (i *Imcd) AwaitReady(ctx context.Context) error { return i.Await(ctx, "/readyz", http.StatusOK) }

// RPCAddr is the address of JSON-RPC in netstrings.
func (i *Imcd) RPCAddr() string { return "127.0.0.1:" + strconv.Itoa(i.rpc) }

// HTTPAddr is the address of HTTP.
func (i *Imcd) HTTPAddr() string { return "127.0.0.1:" + strconv.Itoa(i.http) }

// Log is what imcd has logged, of all its runs.
func (i *Imcd) Log() string { return i.log.String() }

// Pid is the process id of the last run.
func (i *Imcd) Pid() int { return i.proc.Pid }

// Signal sends imcd a signal. If it has ended already, that is no error.
func (i *Imcd) Signal(sig syscall.Signal) error { return i.proc.Signal(sig) }

// Done is closed when the process has ended.
func (i *Imcd) Done() <-chan struct{} { return i.proc.Done() }

// ExitCode is that of the last run once Done is closed; -1: it was killed.
func (i *Imcd) ExitCode() int { return i.proc.ExitCode() }

// Stop asks imcd to end, waits for it, and reports an exit code that is not 0. An imcd that does not end in time writes
// its goroutines into the log, and is killed; the error holds the log.
func (i *Imcd) Stop() error {
	if err := i.end(); err != nil {
		return err
	}
	if code := i.ExitCode(); code != 0 {
		return fmt.Errorf("imcd ended with exit code %d\n%s", code, i.Log())
	}
	return nil
}

// end is Stop with any exit code.
func (i *Imcd) end() error {
	if err := i.proc.End(syscall.SIGTERM, cmp.Or(i.opts.Patience, child.Patience)); err != nil {
		return fmt.Errorf("%w\n%s", err, i.Log())
	}
	return nil
}

// Kill ends imcd at once and waits for it.
func (i *Imcd) Kill() error {
	i.killed = true
	return i.proc.Kill()
}
