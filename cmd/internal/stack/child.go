package stack

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Command says how to start a Child.
type Command struct {
	Path string
	Args []string
	Dir  string    // working directory; empty: ours
	Env  []string  // the whole environment; nil: ours
	Out  io.Writer // standard output and error; may be nil
	// In is standard input; nil: empty. Extra are files 3, 4 and so on. Both are the
	// caller's to close, who may do so once the child has started.
	In    *os.File
	Extra []*os.File
	// SameGroup leaves the child in our process group. Otherwise it leads one
	// of its own, and a Ctrl-C in our terminal does not reach it.
	SameGroup bool
}

// Child is a process that ends with us at the latest.
type Child struct {
	name string
	pid  int
	done chan struct{} // closed when it has ended
	err  error         // of Wait; read after done
}

// StartChild starts a process.
func StartChild(c Command) (*Child, error) {
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Dir, cmd.Env = c.Dir, c.Env
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = c.Out, c.Out, c.Extra
	if c.In != nil {
		cmd.Stdin = c.In
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: !c.SameGroup, Pdeathsig: syscall.SIGTERM}
	cmd.WaitDelay = 2 * time.Second // grandchildren may hold the pipe open
	p := &Child{name: c.Path, done: make(chan struct{})}
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
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	return p, nil
}

// Pid is the process id.
func (p *Child) Pid() int { return p.pid }

// Done is closed when the process has ended.
func (p *Child) Done() <-chan struct{} { return p.done }

// Err says how the process ended: nil with exit code 0. Only after Done.
func (p *Child) Err() error { return p.err }

// Signal sends a signal. A process that has ended already is no error.
func (p *Child) Signal(sig syscall.Signal) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := syscall.Kill(p.pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal %v to %s: %w", sig, p.name, err)
	}
	return nil
}

// Kill ends the process and its children by SIGKILL and waits for it.
func (p *Child) Kill() error {
	children := p.children()
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	for _, pid := range children {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("SIGKILL to %d, a child of %s: %w", pid, p.name, err)
		}
	}
	return nil
}

// children lists the process ids of its children; none if it has ended.
func (p *Child) children() (pids []int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", p.pid, p.pid))
	if err != nil {
		return nil
	}
	for word := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(word); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Stop ends the process by SIGTERM, by SIGKILL if that takes longer than grace,
// and waits. An exit code other than 0 is an error.
func (p *Child) Stop(grace time.Duration) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		return errors.Join(fmt.Errorf("%s did not end within %v of SIGTERM", p.name, grace), p.Kill())
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w", p.name, p.err)
	}
	return nil
}
