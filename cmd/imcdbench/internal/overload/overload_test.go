package overload

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"imcd/cmd/imcdbench/internal/contest"
	"imcd/cmd/imcdbench/internal/load"
	"imcd/cmd/internal/stack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRun overloads imcd for a moment: every accepted message arrives.
func TestRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	binary, err := stack.BuildPlain(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	lab, err := contest.NewLab(contest.Options{Binary: binary, Workers: 2, SHM: 256, Sockets: 1, Sizes: []int{5}, Rooms: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	}()
	var raw, out strings.Builder
	res, err := Run(ctx, lab, contest.Find("imcd/documented"), Options{Cell: contest.Cell{Members: 5, Rooms: 2, Body: 100},
		For: 200 * time.Millisecond, Find: 200 * time.Millisecond, Factor: 2}, &raw, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if !res.Report(&out) || res.Load.Sent == 0 || res.RSSMost < res.RSSHalf || res.RSSHalf <= 0 || len(res.During.Times) == 0 {
		t.Errorf("%+v\n%s", res, out.String())
	}
	if strings.Count(raw.String(), "\n") != 1 {
		t.Errorf("raw %q", raw.String())
	}
}

// TestReport: what went wrong is said.
func TestReport(t *testing.T) {
	res := &Result{Load: &load.Result{Sent: 3, Accepted: 1, Codes: map[int]int{200: 1, 503: 1, 0: 1}, Lost: 2},
		Before: &load.ProbeResult{}, During: &load.ProbeResult{Codes: map[int]int{0: 1}}}
	var out strings.Builder
	if res.Report(&out) || strings.Count(out.String(), "MISSED") != 4 {
		t.Errorf("%s", out.String())
	}
}
