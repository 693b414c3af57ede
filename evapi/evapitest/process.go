package evapitest

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// process is a child in a process group of its own, which ends with us.
type process struct {
	pid  int
	done chan struct{} // closed when the child has ended
	err  error         // of Wait; read after done
}

// startProcess runs name with args in dir, its output going to out.
func startProcess(dir string, out io.Writer, name string, args ...string) (*process, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Stdout = out
	cmd.Stderr = out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	// Grandchildren may hold the pipe open after the child has gone.
	cmd.WaitDelay = 2 * time.Second
	p := &process{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// Pdeathsig is sent when the thread ends that forked.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// signalGroup sends a signal to the child and all that it started.
func (p *process) signalGroup(sig syscall.Signal) error {
	err := syscall.Kill(-p.pid, sig)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// stop ends the child by SIGTERM, and its group by SIGKILL if it has not ended
// within grace. It waits for the end.
func (p *process) stop(grace time.Duration) error {
	if p.ended() {
		return p.signalGroup(syscall.SIGKILL)
	}
	if err := syscall.Kill(p.pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("SIGTERM to %d: %w", p.pid, err)
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
	}
	return p.kill()
}

// kill ends the whole group by SIGKILL and waits for the child's end.
func (p *process) kill() error {
	if err := p.signalGroup(syscall.SIGKILL); err != nil {
		return fmt.Errorf("SIGKILL to group %d: %w", p.pid, err)
	}
	<-p.done
	return nil
}
