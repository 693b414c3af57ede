package overload

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"imcd/cmd/imcdbench/internal/contest"
	"imcd/cmd/imcdbench/internal/load"
	"imcd/cmd/imcdbench/internal/rig/rigtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRun overloads imcd for a moment: every accepted message arrives.
func TestRun(t *testing.T) {
	r, raw := rigtest.Start(t, map[int]int{5: 2})
	res, err := Run(rigtest.Context(t), r, Options{Cell: contest.Cell{Members: 5, Rooms: 2, Body: 100},
		For: 200 * time.Millisecond, Find: 200 * time.Millisecond, Factor: 2})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if !res.Report(&out) || res.Load.Sent == 0 || res.RSSBefore <= 0 || res.RSSMost <= 0 || len(res.During.Times) == 0 {
		t.Errorf("%+v\n%s", res, out.String())
	}
	if strings.Count(raw.String(), "\n") != 1 {
		t.Errorf("raw %q", raw.String())
	}
}

// TestReport: each fault is reported.
func TestReport(t *testing.T) {
	res := &Result{Load: &load.Result{Sent: 3, Accepted: 1, Codes: map[int]int{200: 1, 503: 1, 0: 1}, Lost: 2},
		Before: &load.ProbeResult{}, During: &load.ProbeResult{Codes: map[int]int{0: 1}}}
	var out strings.Builder
	if res.Report(&out) || strings.Count(out.String(), "MISSED") != 4 {
		t.Errorf("%s", out.String())
	}
}
