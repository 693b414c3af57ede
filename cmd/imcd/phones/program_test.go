package phones

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"imcd/cmd/internal/stack"
)

// outputMax bounds what is kept of a client's output; tests say far less.
const outputMax = 16 << 20

// output keeps all that a client prints.
type output struct {
	mu     sync.Mutex
	buf    bytes.Buffer  // guarded by mu
	change chan struct{} // closed and replaced when something is printed; guarded by mu
	prompt string        // what answer is called for; guarded by mu
	answer func()        // nil: nobody answers; guarded by mu
	asked  int           // prompts that were answered; guarded by mu
}

func newOutput() *output { return &output{change: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.buf.Len()+len(p) > outputMax {
		return 0, fmt.Errorf("a client printed more than %d bytes", outputMax)
	}
	o.buf.Write(p)
	if o.answer != nil && bytes.Count(o.buf.Bytes(), []byte(o.prompt)) > o.asked {
		o.asked++
		o.answer()
	}
	close(o.change)
	o.change = make(chan struct{})
	return len(p), nil
}

// whenAsked calls answer, which must not block, for each prompt that is printed.
func (o *output) whenAsked(prompt string, answer func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.prompt, o.answer = prompt, answer
	o.asked = bytes.Count(o.buf.Bytes(), []byte(prompt))
}

// text is all that was printed so far, and a channel that is closed when there is more.
func (o *output) text() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String(), o.change
}

// wait waits until what was printed satisfies pred.
func (o *output) wait(ctx context.Context, pred func(text string) bool) error {
	for {
		text, change := o.text()
		if pred(text) {
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// command is how a client is started.
type command struct {
	path string
	args []string
	dir  string // home and working directory
	out  *output
	log  *output // of file 3; nil: there is none
}

// program is a client that runs.
type program struct {
	child *stack.Child
	in    *os.File
	log   sync.WaitGroup // the reader of file 3
}

func startProgram(c command) (*program, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("pipe to %s: %w", c.path, err)
	}
	defer read.Close()
	cmd := stack.Command{
		Path: c.path, Args: c.args, Dir: c.dir, Out: c.out, In: read,
		// Nothing of a desktop is to be found, and no sound.
		Env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir, "XDG_RUNTIME_DIR=" + c.dir, "LANG=C.UTF-8"},
	}
	p := &program{in: write}
	var logRead, logWrite *os.File
	if c.log != nil {
		if logRead, logWrite, err = os.Pipe(); err != nil {
			write.Close()
			return nil, fmt.Errorf("pipe from %s: %w", c.path, err)
		}
		defer logWrite.Close()
		cmd.Extra = []*os.File{logWrite}
	}
	if p.child, err = stack.StartChild(cmd); err != nil {
		write.Close()
		if logRead != nil {
			logRead.Close()
		}
		return nil, err
	}
	if logRead != nil {
		p.log.Go(func() {
			defer logRead.Close()
			// It ends with the client.
			_, _ = io.Copy(c.log, logRead)
		})
	}
	return p, nil
}

// write gives the client a line.
func (p *program) write(line string) error {
	if _, err := p.in.WriteString(line + "\n"); err != nil {
		return fmt.Errorf("command to a client: %w", err)
	}
	return nil
}

// stop lets the client end by itself, once last has been written, and kills it if it
// does not.
func (p *program) stop(last string) error {
	if last != "" {
		_ = p.write(last) // it may have ended
	}
	err := p.in.Close()
	if late := p.child.Await(5 * time.Second); late != nil {
		err = errors.Join(late, p.child.Kill())
	}
	p.log.Wait()
	return err
}

// kill ends the client without a word.
func (p *program) kill() error {
	err := p.child.Kill()
	p.in.Close()
	p.log.Wait()
	return err
}

// logOnFailure shows what a client printed if its test has failed.
func logOnFailure(t *testing.T, name string, outs ...*output) {
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		for _, o := range outs {
			text, _ := o.text()
			const most = 12 << 10
			if len(text) > most {
				text = "…" + text[len(text)-most:]
			}
			t.Logf("%s printed:\n%s", name, text)
		}
	})
}
