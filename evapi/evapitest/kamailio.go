package evapitest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	kamailiocfg "imcd/kamailio-cfg"
)

// startTimeout bounds how long Kamailio may take until it answers; stopGrace how
// long it may take to end by itself.
const (
	startTimeout = 20 * time.Second
	stopGrace    = 10 * time.Second
)

// Options of a Kamailio. The zero value runs demo.cfg on free ports.
type Options struct {
	// Config is the main configuration file's text; empty: demo.cfg.
	Config string
	// Files are further files by name, written beside the main one; they
	// replace imc.cfg, imc-local.cfg and kamailio-local.cfg, which are
	// written anyway.
	Files map[string]string
	// Local is added to kamailio-local.cfg, which demo.cfg and the stock
	// configuration read first.
	Local string
	// IMCLocal is added to imc-local.cfg, which imc.cfg reads first.
	IMCLocal string

	SIPPort        int       // UDP and TCP; 0: a free one
	EvapiPort      int       // 0: a free one
	Secret         string    // the engine's; empty: a random one
	OperatorSecret string    // empty: a random one
	Workers        int       // SIP workers per socket, TCP alike; 0: 2
	SHM            int       // shared memory in MB; 0: 256
	PKG            int       // private memory in MB; 0: 16
	Log            io.Writer // gets Kamailio's output; may be nil
	Program        string    // empty: that of IMCD_TEST_KAMAILIO, else kamailio
}

// Kamailio is a running Kamailio. Its methods are not for concurrent use, except
// those that return an address, a secret or LogTail.
type Kamailio struct {
	opts Options
	dir  string // temporary; removed by Stop
	log  *tail
	proc *process // nil when not running
}

// ErrRunning is returned by Start of a Kamailio that runs already.
var ErrRunning = errors.New("evapitest: Kamailio is running")

// StartKamailio writes the configuration to a temporary directory, starts
// Kamailio and waits until it answers OPTIONS and its evapi port accepts
// connections. The caller must call Stop.
func StartKamailio(ctx context.Context, opts Options) (*Kamailio, error) {
	chosen := opts.SIPPort == 0 || opts.EvapiPort == 0
	for attempt := 1; ; attempt++ {
		k, err := newKamailio(opts)
		if err != nil {
			return nil, err
		}
		err = k.Start(ctx)
		if err == nil {
			return k, nil
		}
		stopErr := k.Stop()
		// Somebody else may have taken a port that had been free.
		if !chosen || attempt == 3 || ctx.Err() != nil {
			return nil, errors.Join(err, stopErr)
		}
	}
}

func newKamailio(opts Options) (*Kamailio, error) {
	if err := opts.fill(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "imcd-kamailio-")
	if err != nil {
		return nil, fmt.Errorf("directory for Kamailio: %w", err)
	}
	k := &Kamailio{opts: opts, dir: dir, log: &tail{next: opts.Log}}
	if err := k.writeFiles(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return k, nil
}

// Start starts a Kamailio that was killed or stopped by Halt, on the same ports.
func (k *Kamailio) Start(ctx context.Context) error {
	if k.proc != nil {
		return ErrRunning
	}
	proc, err := startProcess(k.dir, k.log, k.opts.Program, k.args()...)
	if err != nil {
		return fmt.Errorf("start Kamailio: %w", err)
	}
	k.proc = proc
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := k.waitReady(ctx); err != nil {
		return errors.Join(fmt.Errorf("Kamailio is not ready: %w\n%s", err, k.LogTail()), k.Kill())
	}
	return nil
}

func (k *Kamailio) args() []string {
	workers := strconv.Itoa(k.opts.Workers)
	return []string{
		"-f", "kamailio.cfg", "-DD", "-E",
		"-n", workers, "-N", workers,
		"-m", strconv.Itoa(k.opts.SHM), "-M", strconv.Itoa(k.opts.PKG),
		"-w", k.dir, "-Y", k.dir,
	}
}

// Halt ends Kamailio by SIGTERM and waits; Start can start it again.
func (k *Kamailio) Halt() error {
	if k.proc == nil {
		return nil
	}
	err := k.proc.stop(stopGrace)
	k.proc = nil
	return err
}

// Kill ends Kamailio and its children at once, by SIGKILL; Start can start it
// again.
func (k *Kamailio) Kill() error {
	if k.proc == nil {
		return nil
	}
	err := k.proc.Kill()
	k.proc = nil
	return err
}

// Restart ends Kamailio by SIGTERM and starts it again on the same ports.
func (k *Kamailio) Restart(ctx context.Context) error {
	if err := k.Halt(); err != nil {
		return fmt.Errorf("restart Kamailio: %w", err)
	}
	return k.Start(ctx)
}

// Stop ends Kamailio, waits, and removes its files. It may be called twice.
func (k *Kamailio) Stop() error {
	return errors.Join(k.Halt(), os.RemoveAll(k.dir))
}

// Signal sends a signal to Kamailio and all its processes; SIGSTOP and SIGCONT
// freeze it and let it go on.
func (k *Kamailio) Signal(sig syscall.Signal) error {
	if k.proc == nil {
		return nil
	}
	return k.proc.SignalGroup(sig)
}

// SIPAddr is the address on which Kamailio speaks SIP, over UDP and TCP.
func (k *Kamailio) SIPAddr() string { return loopback(k.opts.SIPPort) }

// EvapiAddr is the address of Kamailio's evapi.
func (k *Kamailio) EvapiAddr() string { return loopback(k.opts.EvapiPort) }

// Secret is the engine's secret for the hello.
func (k *Kamailio) Secret() string { return k.opts.Secret }

// OperatorSecret is an operator's secret for the hello.
func (k *Kamailio) OperatorSecret() string { return k.opts.OperatorSecret }

// Pid is the process id of Kamailio's main process; 0 if it does not run.
func (k *Kamailio) Pid() int {
	if k.proc == nil {
		return 0
	}
	return k.proc.Pid
}

// Running reports whether Kamailio's main process is there.
func (k *Kamailio) Running() bool { return k.proc != nil && !k.proc.ended() }

// Dir is the directory with the configuration; Stop removes it.
func (k *Kamailio) Dir() string { return k.dir }

// LogTail is the end of Kamailio's output, at most 64 KB.
func (k *Kamailio) LogTail() string { return k.log.String() }

func loopback(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

func defaultConfig() string { return kamailiocfg.File(kamailiocfg.Demo) }
