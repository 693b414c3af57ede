package stack

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"imcd/evapi/evapitest/child"
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
	// OwnPIDs gives the child a namespace of process ids: other processes cannot see that it has ended. Without
	// the right to that, the start fails with EPERM.
	OwnPIDs bool
}

// Child is a process that ends with us at the latest.
type Child struct {
	*child.Child
	name string
}

// StartChild starts a process.
func StartChild(c Command) (*Child, error) {
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Dir, cmd.Env = c.Dir, c.Env
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = c.Out, c.Out, c.Extra
	if c.In != nil {
		cmd.Stdin = c.In
	}
	if c.OwnPIDs {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	}
	p, err := child.Start(cmd, !c.SameGroup)
	if err != nil {
		return nil, err
	}
	return &Child{Child: p, name: c.Path}, nil
}

// Kill ends the process and its children by SIGKILL and waits for it.
func (p *Child) Kill() error { return p.kill(p.children()) }

// kill is Kill with the children that the process had.
func (p *Child) kill(children []int) error {
	if err := p.Child.Kill(); err != nil {
		return err
	}
	for _, pid := range children {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("SIGKILL to %d, a child of %s: %w", pid, p.name, err)
		}
	}
	return nil
}

// children lists the process ids of its children; none if it has ended.
func (p *Child) children() (pids []int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", p.Pid, p.Pid))
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

// Stop ends the process by SIGTERM. If that takes longer than grace, it has to say what it does, by SIGQUIT, and is
// killed, which is an error, as an exit code other than 0 is.
func (p *Child) Stop(grace time.Duration) error {
	children := p.children()
	if err := p.End(syscall.SIGTERM, grace); err != nil {
		return errors.Join(err, p.kill(children))
	}
	if err := p.Err(); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}
