package evapitest

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"syscall"
	"time"

	"imcd/evapi/evapitest/child"
)

// process is a child in a process group of its own, which ends with us.
type process struct{ *child.Child }

// startProcess runs name with args in dir, its output going to out.
func startProcess(dir string, out io.Writer, name string, args ...string) (*process, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
	c, err := child.Start(cmd, true)
	if err != nil {
		return nil, err
	}
	return &process{c}, nil
}

func (p *process) ended() bool {
	select {
	case <-p.Done():
		return true
	default:
		return false
	}
}

// signalGroup sends a signal to the child and all its descendants.
func (p *process) signalGroup(sig syscall.Signal) error {
	err := syscall.Kill(-p.Pid, sig)
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
	if err := syscall.Kill(p.Pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("SIGTERM to %d: %w", p.Pid, err)
	}
	select {
	case <-p.Done():
	case <-time.After(grace):
	}
	return p.kill()
}

// kill ends the whole group by SIGKILL and waits for the child's end.
func (p *process) kill() error {
	if err := p.signalGroup(syscall.SIGKILL); err != nil {
		return fmt.Errorf("SIGKILL to group %d: %w", p.Pid, err)
	}
	<-p.Done()
	return nil
}
