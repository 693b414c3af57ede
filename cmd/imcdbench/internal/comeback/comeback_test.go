package comeback

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"imcd/cmd/imcdbench/internal/rig/rigtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRun lets a member come back to a few messages: it gets them all, and with its phone
// far away it takes a round trip for each.
func TestRun(t *testing.T) {
	r, raw := rigtest.Start(t, map[int]int{1: 1})
	o := Options{Messages: 20, RTT: 20 * time.Millisecond, Window: 1}
	res, err := Run(rigtest.Context(t), r, o)
	if err != nil {
		t.Fatal(err)
	}
	if res.Lost > 0 || res.Near <= 0 || res.Far < 19*o.RTT || strings.Count(raw.String(), "\n") != 1 {
		t.Errorf("%+v", res)
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		window int
		far    time.Duration
		lost   int64
		want   bool
	}{
		{"a round trip each", 1, 11 * time.Second, 0, true},
		{"slower", 1, 12 * time.Second, 0, false},
		{"lost", 1, 10 * time.Second, 1, false},
		{"eight at a time", 8, 2 * time.Second, 0, true},
		{"eight, but not at a time", 8, 3 * time.Second, 0, false},
	} {
		var out strings.Builder
		res := &Result{Options: Options{Messages: 100, RTT: 100 * time.Millisecond, Window: tt.window},
			Near: time.Second,
			Far:  tt.far, Lost: tt.lost}
		if got := res.Report(&out); got != tt.want || got == strings.Contains(out.String(), "MISSED") {
			t.Errorf("%s: %v\n%s", tt.name, got, out.String())
		}
	}
}
