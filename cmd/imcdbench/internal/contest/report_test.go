package contest

import (
	"strings"
	"testing"
	"time"

	"imcd/cmd/imcdbench/internal/load"
)

// made is a measurement of 1000 deliveries at that rate.
func made(name string, round int, rate, cpu float64, lost int64) *Measurement {
	res := &load.Result{Sent: 10, Accepted: 10, Deliveries: 1000, InTime: 1000, Lost: lost,
		Sending: time.Second, Elapsed: time.Duration(1000 / rate * float64(time.Second)), Answers: load.Times{1e6}}
	return &Measurement{Contestant: name, Cell: Cell{Members: 100, Rooms: 8, Body: 100}, Round: round, Loaded: res,
		Paced: &load.Result{}, CPU: map[string]time.Duration{"kamailio": time.Duration(cpu * float64(time.Second))},
		Memory: map[string]int64{}, Drops: map[string]int64{}}
}

// TestReport: verdicts are about medians, and about all losses.
func TestReport(t *testing.T) {
	for _, c := range []struct {
		rates  [3]float64
		cpu    float64
		lost   int64
		missed []string
	}{
		{[3]float64{10, 210, 220}, 0.5, 0, nil},
		{[3]float64{190, 10, 300}, 0.5, 0, []string{"documented, deliveries/s"}},
		{[3]float64{250, 250, 250}, 0.6, 1, []string{"documented, CPU", "lost"}},
	} {
		var all []*Measurement
		for i, rate := range c.rates {
			all = append(all, made("module/documented", i, 100, 1, 7), made("imcd/documented", i, rate, c.cpu, 0))
		}
		all[1].Loaded.Lost = c.lost
		var out strings.Builder
		if passed := Report(&out, all); passed != (len(c.missed) == 0) || strings.Count(out.String(), "MISSED") != len(c.missed) {
			t.Errorf("%v: passed %v\n%s", c, passed, out.String())
		}
		for _, m := range c.missed {
			if !strings.Contains(out.String(), "MISSED  imcd: "+m) {
				t.Errorf("%v: no %q\n%s", c, m, out.String())
			}
		}
	}
}
