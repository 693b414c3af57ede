package child

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shell starts a script that says "ready" when it is, and returns what it says from then on.
func shell(t *testing.T, ownGroup bool, script string) (*Child, *bufio.Scanner) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close() // the process has its own
	t.Cleanup(func() { r.Close() })
	cmd := exec.Command("sh", "-c", script)
	cmd.Stdout = w
	c, err := Start(cmd, ownGroup)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Kill(); err != nil {
			t.Error(err)
		}
	})
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if lines.Text() == "ready" {
			return c, lines
		}
	}
	t.Fatalf("%s does not get ready: %v", script, lines.Err())
	return nil, nil
}

// TestEnd: a process that ends when it is asked to is left to it; one that does not is asked what it does, and killed.
func TestEnd(t *testing.T) {
	const (
		wait  = `echo ready; while :; do sleep 0.01; done`
		hangs = `trap "" TERM; trap "echo I hang; exit 4" QUIT; ` + wait
	)
	for name, test := range map[string]struct {
		script  string
		stopped bool   // by SIGSTOP
		code    int    // -1: a signal has ended it
		says    string // before it ends
		late    bool
	}{
		"ends by the signal":           {wait, false, -1, "", false},
		"ends with its own code":       {`trap "exit 3" TERM; ` + wait, false, 3, "", false},
		"does not end":                 {hangs, false, 4, "I hang", true},
		"does not end, and is stopped": {hangs, true, 4, "I hang", true},
		"says nothing":                 {`trap "" TERM QUIT; ` + wait, false, -1, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, said := shell(t, true, test.script)
			patience := Patience
			if test.late {
				patience, c.lastWords = 50*time.Millisecond, Patience
			}
			if test.code == -1 {
				c.lastWords = 50 * time.Millisecond
			}
			if test.stopped {
				if err := c.Signal(syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
			}
			err := c.End(syscall.SIGTERM, patience)
			if (err != nil) != test.late || test.late && !strings.Contains(err.Error(), "did not end within 50ms") {
				t.Errorf("error %v", err)
			}
			if code := c.ExitCode(); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			said.Scan()
			if said.Text() != test.says {
				t.Errorf("it says %q, want %q", said.Text(), test.says)
			}
			if err := c.End(syscall.SIGTERM, patience); err != nil {
				t.Errorf("one that has ended: %v", err)
			}
		})
	}
}
