package stack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"imcd/evapi/evapitest"
)

// How long imcd may take to become ready, and to end after SIGTERM.
const (
	readyTimeout = 30 * time.Second
	stopGrace    = 15 * time.Second
)

// Options of a Stack. The zero value but for Binary is a system with SQLite on
// free ports.
type Options struct {
	Binary string // path of imcd, see Build
	Dir    string // imcd's state_dir; empty: a temporary one that Stop removes
	DBURL  string // imcd's db_url; empty: a SQLite file in Dir
	// Settings are further ones of imcd, by key: "owner_leave": "refuse".
	Settings map[string]string
	Kamailio evapitest.Options
	// Beside is another system, whose Kamailio this one uses instead of one of its own; nil: none.
	// It is to be stopped after this one.
	Beside *Stack
	// Spare: another imcd has the database. This one is not ready when Start and StartImcd return, but alive.
	Spare    bool
	OwnPIDs  bool      // see Command
	RPCPort  int       // 0: a free one
	HTTPPort int       // 0: a free one
	Log      io.Writer // gets the output of imcd; may be nil
}

// Stack is a running system. Its methods are not for concurrent use, but for
// Call, Stats, Idle, UA, RPCAddr, HTTPAddr and LogTail.
type Stack struct {
	opts     Options
	kamailio *evapitest.Kamailio
	ownDir   bool
	out      *output
	imcd     *Child // nil when not running
	frozen   bool   // SIGSTOP was the last signal

	mu  sync.Mutex
	uas map[string]*evapitest.UA // guarded by mu
}

// ErrRunning is returned by StartImcd if imcd runs already.
var ErrRunning = errors.New("stack: imcd is running")

// Start starts Kamailio and imcd and waits until imcd is ready. The caller must
// call Stop.
func Start(ctx context.Context, opts Options) (*Stack, error) {
	s := &Stack{opts: opts, out: &output{next: opts.Log}, uas: make(map[string]*evapitest.UA)}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Stack) start(ctx context.Context) error {
	if s.opts.Dir == "" {
		dir, err := os.MkdirTemp("", "imcd-stack-")
		if err != nil {
			return fmt.Errorf("directory for imcd: %w", err)
		}
		s.opts.Dir, s.ownDir = dir, true
	}
	var err error
	if s.opts.Beside != nil {
		s.kamailio = s.opts.Beside.kamailio
	} else if s.kamailio, err = evapitest.StartKamailio(ctx, s.opts.Kamailio); err != nil {
		return err
	}
	given := s.opts
	for attempt := 1; ; attempt++ {
		ports, err := evapitest.FreePorts(2)
		if err != nil {
			return err
		}
		s.opts.RPCPort = cmp.Or(given.RPCPort, ports[0])
		s.opts.HTTPPort = cmp.Or(given.HTTPPort, ports[1])
		// Somebody else may have taken a port that had been free.
		err = s.StartImcd(ctx)
		fixed := given.RPCPort != 0 && given.HTTPPort != 0
		if err == nil || fixed || attempt == 3 || ctx.Err() != nil {
			return err
		}
	}
}

// Set changes a setting of imcd, from its next start on.
func (s *Stack) Set(key, value string) {
	settings := map[string]string{key: value}
	for k, v := range s.opts.Settings {
		if k != key {
			settings[k] = v
		}
	}
	s.opts.Settings = settings
}

// StartImcd starts imcd again after Kill9 or StopImcd and waits until it is
// ready; a spare until it is alive.
func (s *Stack) StartImcd(ctx context.Context) error {
	if err := s.LaunchImcd(); err != nil {
		return err
	}
	state := "/readyz"
	if s.opts.Spare {
		state = "/healthz"
	}
	if err := s.await(ctx, state); err != nil {
		return errors.Join(fmt.Errorf("imcd is not ready: %w\n%s", err, s.out), s.Kill9())
	}
	return nil
}

// LaunchImcd starts imcd and does not wait.
func (s *Stack) LaunchImcd() error {
	if s.imcd != nil {
		return ErrRunning
	}
	child, err := StartChild(Command{Path: s.opts.Binary, Env: s.environ(), Out: s.out, OwnPIDs: s.opts.OwnPIDs})
	if err != nil {
		return err
	}
	s.imcd, s.frozen = child, false
	return nil
}

// DBURL is the URL of imcd's database.
func (s *Stack) DBURL() string {
	return cmp.Or(s.opts.DBURL, "sqlite://"+filepath.Join(s.opts.Dir, "imcd.db"))
}

// environ is imcd's environment.
func (s *Stack) environ() []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"),
		"GORACE=atexit_sleep_ms=0", // else every exit takes a second
		"IMCD_DB_URL=" + s.DBURL(),
		"IMCD_STATE_DIR=" + s.opts.Dir,
		"IMCD_EVAPI=" + s.kamailio.EvapiAddr(),
		"IMCD_EVAPI_SECRET=" + s.kamailio.Secret(),
		"IMCD_RPC_LISTEN=" + s.RPCAddr(),
		"IMCD_HTTP_LISTEN=" + s.HTTPAddr(),
		"IMCD_LOG_FORMAT=json",
	}
	for key, value := range s.opts.Settings {
		env = append(env, "IMCD_"+upper(key)+"="+value)
	}
	return env
}

// Kill9 ends imcd by SIGKILL and waits.
func (s *Stack) Kill9() error {
	if s.imcd == nil {
		return nil
	}
	err := s.imcd.Kill()
	s.imcd = nil
	return err
}

// StopImcd ends imcd by SIGTERM and waits. That it exits with another code than
// 0, or not within 15 s, is an error.
func (s *Stack) StopImcd() error {
	if s.imcd == nil {
		return nil
	}
	if s.frozen {
		if err := s.SignalImcd(syscall.SIGCONT); err != nil {
			return err
		}
	}
	err := s.imcd.Stop(stopGrace)
	s.imcd = nil
	return err
}

// RestartImcd stops imcd by SIGTERM and starts it again.
func (s *Stack) RestartImcd(ctx context.Context) error {
	if err := s.StopImcd(); err != nil {
		return err
	}
	return s.StartImcd(ctx)
}

// SignalImcd sends a signal to imcd: SIGSTOP freezes it, SIGCONT lets it go on.
func (s *Stack) SignalImcd(sig syscall.Signal) error {
	if s.imcd == nil {
		return errors.New("stack: imcd is not running")
	}
	s.frozen = sig == syscall.SIGSTOP
	return s.imcd.Signal(sig)
}

// ImcdPid is the process id of imcd; 0 if it does not run.
func (s *Stack) ImcdPid() int {
	if s.imcd == nil {
		return 0
	}
	return s.imcd.Pid
}

// Kamailio is the Kamailio of the system, which may be stopped and started.
func (s *Stack) Kamailio() *evapitest.Kamailio { return s.kamailio }

// RPCAddr is where imcd serves JSON-RPC in netstrings.
func (s *Stack) RPCAddr() string { return addr(s.opts.RPCPort) }

// HTTPAddr is where imcd serves HTTP.
func (s *Stack) HTTPAddr() string { return addr(s.opts.HTTPPort) }

// LogTail is the end of imcd's output; after a crash, its beginning.
func (s *Stack) LogTail() string { return s.out.String() }

// Stop closes all user agents, ends imcd and its own Kamailio, and removes temporary
// files. It may be called twice. The error tells if imcd crashed or had a data
// race at any time.
func (s *Stack) Stop() error {
	errs := []error{s.closeUAs(), s.StopImcd()}
	if word := s.out.crashed(); word != "" {
		errs = append(errs, fmt.Errorf("imcd crashed (%s):\n%s", word, s.out))
	}
	if s.kamailio != nil && s.opts.Beside == nil {
		errs = append(errs, s.kamailio.Stop())
	}
	if s.ownDir {
		errs = append(errs, os.RemoveAll(s.opts.Dir))
	}
	return errors.Join(errs...)
}
