package growth

import (
	"io"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"imcd/cmd/imcdbench/internal/rig"
	"imcd/cmd/imcdbench/internal/rig/rigtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRun measures a little of everything.
func TestRun(t *testing.T) {
	var raw strings.Builder
	steps, err := Run(rigtest.Context(t), Options{Lab: rigtest.Options(t, nil), Sizes: []int{2, 4}, Rooms: []int{3, 6},
		Members: 2, Messages: 10, Repeat: 1}, rig.Output{Raw: &raw, Progress: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	// Of messages 2 figures, of starts and memory 3, for two sizes each.
	if len(steps) != 10 || strings.Count(raw.String(), "\n") != 10 {
		t.Errorf("%d steps: %+v\n%s", len(steps), steps, raw.String())
	}
	for _, s := range steps {
		if strings.Contains(s.What, "until") && s.Value <= 0 || strings.HasPrefix(s.What, "start") && s.Ratio <= 0 {
			t.Errorf("%+v", s)
		}
	}
}

func TestReport(t *testing.T) {
	linear := []Step{{What: "a", N: 10, Value: 1}, {What: "a", N: 100, Value: 11}, {What: "b", N: 1000, Value: 5,
		Ratio: 9},
		{What: "c", N: 1, Value: 1, Ratio: 9, Most: 5}, {What: "c", N: 10, Value: 2, Ratio: 4, Most: 5}}
	for _, c := range []struct {
		steps []Step
		want  string
	}{
		{linear, "passed"},
		{append([]Step{{What: "z", N: 10, Value: 1}, {What: "z", N: 100, Value: 20}}, linear...),
			"MISSED  z grows with exponent 1.30 at 100"},
		{linear[:4], "MISSED  c: ratio 9.00 at 1"},
	} {
		var out strings.Builder
		passed := Report(&out, c.steps)
		if passed != (c.want == "passed") || !strings.Contains(out.String(), c.want) ||
			passed == strings.Contains(out.String(), "MISSED") {
			t.Errorf("no %q:\n%s", c.want, out.String())
		}
	}
}
