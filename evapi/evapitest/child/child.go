// Package child starts processes that end with us at the latest, and ends them. It is the one place where tests and
// demonstrations wait for a process, because each such wait needs a deadline.
package child

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Patience is how long a process may take to end that was asked to, if nobody says less. No test measures time
// with it.
const Patience = time.Minute

// lastWords is how long a process may take to write what it does, at SIGQUIT; reaped how long the kernel may take
// over a process that was killed, and we over the rest of its output.
const (
	lastWords = 5 * time.Second
	reaped    = time.Minute
)

// Child is a process that was started.
type Child struct {
	Pid int

	cmd       *exec.Cmd
	ownGroup  bool
	lastWords time.Duration // as the constant; a test has less
	done      chan struct{} // closed when the process has ended
	err       error         // of Wait; read after done
}

// Start starts cmd, with the attributes that it has. With ownGroup the process leads a process group of its
// own, and a Ctrl-C in our terminal does not reach it. It gets SIGTERM when we end, unless cmd names another signal.
func Start(cmd *exec.Cmd, ownGroup bool) (*Child, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = ownGroup
	if cmd.SysProcAttr.Pdeathsig == 0 {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	}
	if cmd.WaitDelay == 0 {
		cmd.WaitDelay = 2 * time.Second // grandchildren may hold the pipe open after the child has ended
	}
	c := &Child{cmd: cmd, ownGroup: ownGroup, lastWords: lastWords, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The kernel sends Pdeathsig when the thread ends that forked.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			c.Pid = cmd.Process.Pid
		}
		started <- err
		if err != nil {
			return
		}
		c.err = cmd.Wait()
		close(c.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return c, nil
}

// Done is closed when the process has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// Err says how the process ended: nil with exit code 0. Only after Done.
func (c *Child) Err() error { return c.err }

// ExitCode is the code that the process ended with; -1: a signal has ended it. Only after Done.
func (c *Child) ExitCode() int { return c.cmd.ProcessState.ExitCode() }

// Signal sends a signal to the process alone. One that has ended already is no error.
func (c *Child) Signal(sig syscall.Signal) error {
	if err := c.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %v to %s: %w", sig, c.cmd.Path, err)
	}
	return nil
}

// Await waits until the process has ended, for patience at most. How it ended is no error; Err says it.
func (c *Child) Await(patience time.Duration) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c.done:
		return nil
	case <-timer.C:
		select {
		case <-c.done: // both were: we were late, not the process
			return nil
		default:
		}
		return fmt.Errorf("%s (process %d) did not end within %v", c.cmd.Path, c.Pid, patience)
	}
}

// End sends a signal that ends the process, and waits for patience at most. A process that does not end then has to
// say what it does, by SIGQUIT: a Go program writes its goroutines; and is killed. That is an error. How a process
// ends that does it in time is none; Err says it. One that has ended already is left alone.
func (c *Child) End(sig syscall.Signal, patience time.Duration) error {
	if err := c.Signal(sig); err != nil {
		return err
	}
	late := c.Await(patience)
	if late == nil {
		return nil
	}
	late = fmt.Errorf("after signal %v: %w", sig, late)
	_ = c.Signal(syscall.SIGQUIT) // if these fail, Kill says why
	_ = c.Signal(syscall.SIGCONT) // one that was stopped would not see the other
	_ = c.Await(c.lastWords)
	return errors.Join(late, c.Kill())
}

// Kill ends the process by SIGKILL, with its group if that is its own, and waits for it.
func (c *Child) Kill() error {
	var err error
	if c.ownGroup {
		err = c.SignalGroup(syscall.SIGKILL)
	} else {
		err = c.Signal(syscall.SIGKILL)
	}
	return errors.Join(err, c.Await(reaped))
}

// SignalGroup sends a signal to all processes of the group that the child leads. That none is left is no error.
func (c *Child) SignalGroup(sig syscall.Signal) error {
	if err := syscall.Kill(-c.Pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal %v to the group of %s: %w", sig, c.cmd.Path, err)
	}
	return nil
}
