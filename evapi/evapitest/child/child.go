// Package child starts processes that end with us at the latest.
package child

import (
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Child is a process that was started.
type Child struct {
	Pid  int
	done chan struct{} // closed when the process has ended
	err  error         // of Wait; read after done
}

// Start starts cmd, with the attributes that it has. With ownGroup the process leads a process group of its
// own, and a Ctrl-C in our terminal does not reach it.
func Start(cmd *exec.Cmd, ownGroup bool) (*Child, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Pdeathsig = ownGroup, syscall.SIGTERM
	cmd.WaitDelay = 2 * time.Second // grandchildren may hold the pipe open after the child has ended
	c := &Child{done: make(chan struct{})}
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
