package evapitest

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"imcd/evapi/evapitest/child"
)

// TestPortsOfProcesses: no port is given twice, not even to another process that asks while nobody has
// bound it yet.
func TestPortsOfProcesses(t *testing.T) {
	const n = 300
	mine, err := FreePorts(n)
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("IMCD_TEST_PORTS") != "" {
		for _, p := range mine {
			t.Log("port ", p)
		}
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), child.Patience)
	defer cancel()
	other := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestPortsOfProcesses$", "-test.v")
	other.Env = append(os.Environ(), "IMCD_TEST_PORTS=1")
	out, err := other.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	has := make(map[int]bool)
	for _, p := range mine {
		has[p] = true
	}
	for _, line := range strings.Split(string(out), "\n") {
		if _, text, ok := strings.Cut(line, "port "); ok {
			p, err := strconv.Atoi(strings.TrimSpace(text))
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if has[p] {
				t.Errorf("port %d was given twice", p)
			}
			has[p] = true
		}
	}
	if len(has) != 2*n {
		t.Errorf("%d different ports, want %d", len(has), 2*n)
	}
}
