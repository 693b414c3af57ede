package schematest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/lib/pq"

	"imcd/evapi/evapitest/child"
)

// The only role of the servers; a superuser. The names are those of Kamailio's
// own examples.
const (
	User     = "kamailio"
	Password = "kamailiorw"
)

// Options of StartPostgres. The zero value is a server without TLS that is fast
// because a crash of the machine (not of the server) would lose its data.
type Options struct {
	Fsync    bool              // as in production: a commit waits for the disk
	TLS      bool              // with a certificate of its own making
	Settings map[string]string // more lines of postgresql.conf
}

// Postgres is a running server. Its methods are safe for concurrent use.
type Postgres struct {
	dir      string // holds data/, sock/, log and secrets
	template string // data/ of a server that was never started, to begin with; empty: initdb makes one
	bin      string // folder of the programs
	port     int
	opts     Options

	mu   sync.Mutex
	proc *child.Child // by mu; nil when the server is stopped
}

// StartPostgres makes a new server in dir and returns when it takes connections.
// dir must exist; as root it is given to the user postgres (or nobody), because
// PostgreSQL refuses to run as root. The server ends with this process at the
// latest.
func StartPostgres(ctx context.Context, dir string, opts Options) (*Postgres, error) {
	return startPostgres(ctx, dir, "", opts)
}

// startPostgres is StartPostgres with the data/ of a server that was never started, if template names one.
func startPostgres(ctx context.Context, dir, template string, opts Options) (*Postgres, error) {
	p, err := newPostgres(ctx, dir, template, opts)
	if err != nil {
		return nil, err
	}
	if err := p.configure(); err != nil {
		return nil, err
	}
	if err := p.start(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// newPostgres makes the files of a server, with the settings that initdb writes.
func newPostgres(ctx context.Context, dir, template string, opts Options) (*Postgres, error) {
	bin, err := findPrograms()
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("folder of PostgreSQL: %w", err)
	}
	p := &Postgres{dir: dir, template: template, bin: bin, opts: opts}
	if p.port, err = freePort(); err != nil {
		return nil, err
	}
	return p, p.init(ctx)
}

// findPrograms looks where Debian puts PostgreSQL, newest first, then in PATH.
func findPrograms() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return "", fmt.Errorf("look for PostgreSQL: %w", err)
	}
	if len(found) > 0 {
		major := func(p string) int {
			n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(p)))) // a strange name sorts first
			return n
		}
		return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return major(a) - major(b) })), nil
	}
	path, err := exec.LookPath("postgres")
	if err != nil {
		return "", fmt.Errorf("PostgreSQL is not installed: %w", err)
	}
	return filepath.Dir(path), nil
}

// freePort looks below the kernel's range for outgoing connections: nobody takes
// the port by chance while the server is stopped.
func freePort() (int, error) {
	var err error
	for range 100 {
		port := 10000 + rand.IntN(22000)
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprint("127.0.0.1:", port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("find a free port: %w", err)
}

func (p *Postgres) start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proc != nil {
		return errors.New("PostgreSQL runs already")
	}
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("log of PostgreSQL: %w", err)
	}
	defer log.Close() // the server has its own copy
	cmd, err := p.command(context.Background(), "postgres", "-D", filepath.Join(p.dir, "data"))
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = log, log
	// Not SIGKILL: the server could not end its own children.
	cmd.SysProcAttr.Pdeathsig = syscall.SIGQUIT
	proc, err := child.Start(cmd, true) // Ctrl-C is for us to handle
	if err != nil {
		return err
	}
	if err := p.ready(ctx, proc.Done()); err != nil {
		return errors.Join(err, proc.End(syscall.SIGQUIT, child.Patience))
	}
	p.proc = proc
	return nil
}

// ready waits until the server takes connections.
func (p *Postgres) ready(ctx context.Context, done <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := p.Exec(ctx, "postgres", "SELECT 1")
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-done:
			return fmt.Errorf("PostgreSQL ended at its start: %s", p.logTail())
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL is not ready: %w: %s", err, p.logTail())
		}
	}
}

func (p *Postgres) logTail() string {
	text, err := os.ReadFile(filepath.Join(p.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// URL returns the db_url of a database, in Kamailio's form.
func (p *Postgres) URL(database string) string { return Hosts(database, p) }

func (p *Postgres) addr() string { return fmt.Sprintf("127.0.0.1:%d", p.port) }

// Port returns the server's port on 127.0.0.1. It stays the same over restarts.
func (p *Postgres) Port() int { return p.port }

// Pid returns the process id of the server's first process, the parent of all
// others; 0 if it is stopped.
func (p *Postgres) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proc == nil {
		return 0
	}
	return p.proc.Pid
}

// SocketDir returns the folder of the server's Unix socket.
func (p *Postgres) SocketDir() string { return filepath.Join(p.dir, "sock") }

// CreateDatabase makes an empty database.
func (p *Postgres) CreateDatabase(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return p.Exec(ctx, "postgres", "CREATE DATABASE "+pq.QuoteIdentifier(name))
}

// DropDatabase removes a database and ends its connections.
func (p *Postgres) DropDatabase(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return p.Exec(ctx, "postgres", "DROP DATABASE "+pq.QuoteIdentifier(name)+" WITH (FORCE)")
}

// Stop ends the server at once, without a checkpoint: its next start recovers.
// It waits for the end and does nothing if the server is stopped already. That the server did not end, so that it
// had to be killed, is an error.
func (p *Postgres) Stop() error { return p.end(syscall.SIGQUIT) }

// StopFast ends the server as an operator would, connections included.
func (p *Postgres) StopFast() error { return p.end(syscall.SIGINT) }

// Kill ends all processes of the server at once, as a crash would.
func (p *Postgres) Kill() error { return p.end(syscall.SIGKILL) }

func (p *Postgres) end(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proc == nil {
		return nil
	}
	// Signals fail only if the process has ended meanwhile.
	pid := p.proc.Pid
	if sig == syscall.SIGKILL {
		_ = syscall.Kill(pid, syscall.SIGSTOP) // so that it starts no more children
	}
	children, err := childrenOf(pid)
	if err != nil {
		children = nil // it has ended
	}
	_ = syscall.Kill(pid, sig)
	for _, pid := range children {
		if sig == syscall.SIGKILL {
			_ = syscall.Kill(pid, sig)
		}
		_ = syscall.Kill(pid, syscall.SIGCONT) // if it was paused
	}
	_ = syscall.Kill(pid, syscall.SIGCONT)
	// It has the signal already, before it could go on; that it comes twice does no harm.
	err = p.proc.End(sig, child.Patience)
	p.proc = nil
	if err != nil {
		err = fmt.Errorf("%w: %s", err, p.logTail())
	}
	return errors.Join(err, waitGone(children))
}

// Start starts a server that was stopped.
func (p *Postgres) Start(ctx context.Context) error { return p.start(ctx) }

// Restart stops the server, fast, and starts it again.
func (p *Postgres) Restart(ctx context.Context) error {
	if err := p.StopFast(); err != nil {
		return err
	}
	return p.start(ctx)
}

// Pause freezes the server with everything that serves its connections.
func (p *Postgres) Pause() error { return p.signalAll(syscall.SIGSTOP) }

// Resume ends a Pause.
func (p *Postgres) Resume() error { return p.signalAll(syscall.SIGCONT) }

// signalAll reaches the server's children too, each of which leads a session of
// its own.
func (p *Postgres) signalAll(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proc == nil {
		return errors.New("PostgreSQL does not run")
	}
	pid := p.proc.Pid
	// The parent first, so that it starts no more.
	if err := syscall.Kill(pid, sig); err != nil {
		return fmt.Errorf("signal PostgreSQL: %w", err)
	}
	children, err := childrenOf(pid)
	if err != nil {
		return err
	}
	for _, pid := range children {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("signal a process of PostgreSQL: %w", err)
		}
	}
	return nil
}
