package evapitest

import (
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

// stop ends the child by SIGTERM, and its group by SIGKILL if it has not ended
// within grace. It waits for the end.
func (p *process) stop(grace time.Duration) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	_ = p.Await(grace) // Kamailio sometimes hangs at its end, and has nothing to lose then
	return p.Kill()
}
