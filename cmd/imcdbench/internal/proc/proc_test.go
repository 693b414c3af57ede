package proc

import (
	"io"
	"os"
	"os/exec"
	"slices"
	"testing"

	"imcd/evapi/evapitest/child"
	"imcd/evapi/evapitest/kit"
)

// TestTree: what a grandchild uses is counted while it runs and when it has
// ended.
func TestTree(t *testing.T) {
	cmd := exec.Command("sh", "-c", `sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; read x' ; read y; :`)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := child.Start(cmd, true)
	if err != nil {
		t.Fatal(err)
	}
	pid := p.Pid
	defer func() {
		_ = in.Close()
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	}()
	kit.Eventually(t, "the grandchild has used CPU time", func() bool {
		d, err := CPU(pid)
		return err == nil &&
			d >= 5*tick
	})
	tree := Tree(pid)
	if len(tree) != 2 || !slices.Contains(Tree(os.Getpid()), tree[1]) {
		t.Errorf("tree %v", tree)
	}
	if n, err := Memory(pid); err != nil || n < 100<<10 {
		t.Errorf("memory %d: %v", n, err)
	}
	before, err := CPU(pid)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, "x\n"); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "the grandchild has ended", func() bool { return len(Tree(pid)) == 1 })
	if after, err := CPU(pid); err != nil || after < before {
		t.Errorf("%v, was %v: %v", after, before, err)
	}
}

func TestPeak(t *testing.T) {
	pid := os.Getpid()
	if err := ResetPeak(pid); err != nil {
		t.Fatal(err)
	}
	peak, err := Peak(pid)
	if err != nil {
		t.Fatal(err)
	}
	rss, err := RSS(pid)
	if err != nil || rss <= 0 || peak <= 0 {
		t.Errorf("peak %d, now %d: %v", peak, rss, err)
	}
	if d, err := Self(); err != nil || d <= 0 {
		t.Errorf("own CPU %v: %v", d, err)
	}
}
