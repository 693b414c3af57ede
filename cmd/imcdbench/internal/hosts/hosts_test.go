package hosts

import (
	"io"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"imcd/cmd/imcdbench/internal/contest"
	"imcd/cmd/imcdbench/internal/rig"
	"imcd/cmd/imcdbench/internal/rig/rigtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRun has two senders write to one host and to two: all copies of both come, whichever imcd has a room.
func TestRun(t *testing.T) {
	opts := rigtest.Options(t, nil)
	raw := new(strings.Builder)
	res, err := Run(rigtest.Context(t), opts, contest.Find("imcd/documented"), Options{Hosts: 2, Rooms: 4, Members: 3,
		For: 300 * time.Millisecond, Rounds: 2}, rig.Output{Raw: raw, Progress: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	for _, rounds := range [][]Round{res.One, res.Several} {
		if len(rounds) != 2 {
			t.Fatalf("%d rounds", len(rounds))
		}
		for _, r := range rounds {
			if r.Deliveries == 0 || r.Lost != 0 || r.Refused != 0 || r.CPU["imcd"] <= 0 || r.CPU["kamailio"] <= 0 {
				t.Errorf("%+v", r)
			}
		}
	}
	var out strings.Builder
	if !res.Report(&out) || !strings.Contains(out.String(), "2 hosts over one") || strings.Count(raw.String(), "\n") != 1 {
		t.Error(out.String(), raw.String())
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	good := Round{Deliveries: 2000, Took: time.Second, CPU: map[string]time.Duration{"imcd": time.Second}}
	slow, lost, refused := good, good, good
	slow.Took, slow.CPU = 2*time.Second, map[string]time.Duration{"imcd": 3 * time.Second}
	lost.Lost, refused.Refused = 1, 1
	for _, tt := range []struct {
		name    string
		several Round
		passed  bool
		text    string
	}{
		{"the same", good, true, "1.00 of the deliveries a second, on as many cores; 1.00 of the CPU time"},
		{"slower", slow, true, "0.50 of the deliveries a second, on as many cores; 3.00 of the CPU time"},
		{"lost", lost, false, "1 lost"},
		{"refused", refused, false, "1 refused"},
	} {
		res := &Result{Options: Options{Hosts: 3}, One: []Round{good}, Several: []Round{tt.several}}
		var out strings.Builder
		if got := res.Report(&out); got != tt.passed || !strings.Contains(out.String(), tt.text) {
			t.Errorf("%s: %v\n%s", tt.name, got, out.String())
		}
	}
}
