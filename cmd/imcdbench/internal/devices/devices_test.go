package devices

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"imcd/cmd/imcdbench/internal/load"
	"imcd/cmd/imcdbench/internal/rig/rigtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRun measures a few people: every device gets its copies.
func TestRun(t *testing.T) {
	o := Options{Rooms: 1, Members: 2, For: 200 * time.Millisecond, Rounds: 1, Messages: 20, Dead: 2, Paced: 20,
		Every: 10 * time.Millisecond, People: 3,
		Rest: 100 * time.Millisecond}
	r, raw := rigtest.Start(t, o.Sizes())
	res, err := Run(rigtest.Context(t), r, r, o)
	if err != nil {
		t.Fatal(err)
	}
	if res.Lost > 0 || res.Back <= 0 || len(res.Alone) != o.Paced || len(res.Beside) != o.Paced ||
		len(res.Without) != 1 || len(res.One) != 1 || len(res.Two) != 1 || strings.Count(raw.String(), "\n") != 1 {
		t.Errorf("%+v", res)
	}
	if one, two := res.OneRegistration[0], res.TwoRegistrations[0]; one.Count != 3 || two.Count != 6 {
		t.Errorf("%+v, %+v", one, two)
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	ms := func(n int) load.Times { return load.TimesOf([]time.Duration{time.Duration(n) * time.Millisecond}) }
	good := Result{Without: []float64{100, 120, 110}, One: []float64{105, 115, 90}, Two: []float64{84, 99, 90},
		Alone: ms(5), Beside: ms(54), Back: 2 * time.Second,
		OneRegistration:  []Registrations{{Count: 10, Took: 10 * time.Millisecond, CPU: 20 * time.Millisecond}},
		TwoRegistrations: []Registrations{{Count: 20, Took: 30 * time.Millisecond, CPU: 60 * time.Millisecond}}}
	change := map[string]func(r *Result){
		"good":               func(*Result) {},
		"one is slower":      func(r *Result) { r.One = []float64{104} },
		"one is too fast":    func(r *Result) { r.One, r.Two = []float64{116}, []float64{99} },
		"two are slower":     func(r *Result) { r.Two = []float64{83} },
		"later beside dead":  func(r *Result) { r.Beside = ms(56) },
		"late":               func(r *Result) { r.Back++; r.Back += time.Millisecond },
		"registrations take": func(r *Result) { r.OneRegistration = []Registrations{{10, 9e6, 20e6}} },
		"registrations cost": func(r *Result) { r.OneRegistration = []Registrations{{10, 10e6, 19e6}} },
		"lost":               func(r *Result) { r.Lost = 1 },
		"twice":              func(r *Result) { r.Twice = 1 },
	}
	for name, change := range change {
		res := good
		change(&res)
		missed := 1
		if name == "good" {
			missed = 0
		}
		var out strings.Builder
		if got := res.Report(&out); got != (missed == 0) || strings.Count(out.String(), "MISSED") != missed {
			t.Errorf("%s: %v\n%s", name, got, out.String())
		}
	}
}
