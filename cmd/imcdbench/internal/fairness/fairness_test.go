package fairness

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"imcd/cmd/imcdbench/internal/load"
	"imcd/cmd/imcdbench/internal/rig/rigtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRun measures a moment of each case: everything arrives, and only the times of the
// small room are taken.
func TestRun(t *testing.T) {
	o := Options{Small: 2, Big: 40, Silent: 6, Rooms: 10, Every: 5 * time.Millisecond, For: 200 * time.Millisecond,
		Rounds: 1, Cases: []string{""}}
	r, raw := rigtest.Start(t, o.Sizes())
	res, err := Run(rigtest.Context(t), r, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Cases) != 6 {
		t.Fatalf("%d cases", len(res.Cases))
	}
	for _, f := range append(res.Cases, *res.Alone) {
		if n := len(f.Samples); n < 10 || n > 60 || f.Lost > 0 || f.Refused > 0 {
			t.Errorf("%s: %d messages, lost %d, refused %d", f.Case, n, f.Lost, f.Refused)
		}
		for _, p := range parts() {
			if len(f.times(p, 0)) != len(f.Samples) {
				t.Errorf("%s, %s: %d times of %d messages", f.Case, p.name, len(f.times(p, 0)), len(f.Samples))
			}
		}
		said := f.Case != "alone" && !strings.HasPrefix(f.Case, "rooms") && !strings.HasPrefix(f.Case, "history")
		if others := f.Others > 0; others != said {
			t.Errorf("%s: %v deliveries to others", f.Case, f.Others)
		}
		if asked := f.Asked > 0; asked != strings.HasPrefix(f.Case, "history") {
			t.Errorf("%s: %d commands", f.Case, f.Asked)
		}
	}
	var out strings.Builder
	if res.Report(&out); strings.Count(raw.String(), "\n") != 1 {
		t.Errorf("%s\n%s", out.String(), raw.String())
	}
}

// TestReport: a case is missed if its p99 is more than twice that of alone, or something
// is missing.
func TestReport(t *testing.T) {
	t.Parallel()
	samples := func(answer, last time.Duration) (list []load.Sample) {
		for range 99 {
			list = append(list, load.Sample{Answer: time.Millisecond, Complete: time.Millisecond})
		}
		return append(list, load.Sample{At: time.Second, Answer: answer, Complete: last})
	}
	alone := &Figures{Samples: samples(time.Millisecond, 2*time.Millisecond)}
	for _, tt := range []struct {
		name string
		f    Figures
		want bool
	}{
		{"below", Figures{barred: true, Samples: samples(2*time.Millisecond, 4*time.Millisecond)}, true},
		{"answer", Figures{barred: true, Samples: samples(3*time.Millisecond, 4*time.Millisecond)}, false},
		{"last copy", Figures{barred: true, Samples: samples(2*time.Millisecond, 5*time.Millisecond)}, false},
		{"refused", Figures{barred: true, Samples: samples(2*time.Millisecond, 4*time.Millisecond), Refused: 1}, false},
		{"lost", Figures{barred: true, Samples: samples(2*time.Millisecond, 4*time.Millisecond), Lost: 1}, false},
		{"no bar", Figures{Samples: samples(time.Hour, time.Hour)}, true},
	} {
		var out strings.Builder
		res := &Result{Options: Options{For: time.Second}, Alone: alone, Cases: []Figures{tt.f}}
		if got := res.Report(&out); got != tt.want || got == strings.Contains(out.String(), "MISSED") {
			t.Errorf("%s: %v\n%s", tt.name, got, out.String())
		}
	}
}
