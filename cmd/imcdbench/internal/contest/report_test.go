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
		if passed := Report(&out, all); passed != (len(c.missed) == 0) || strings.Count(out.String(),
			"MISSED") != len(c.missed) {
			t.Errorf("%v: passed %v\n%s", c, passed, out.String())
		}
		for _, m := range c.missed {
			if !strings.Contains(out.String(), "MISSED  imcd: "+m) {
				t.Errorf("%v: no %q\n%s", c, m, out.String())
			}
		}
	}
}

// TestReportReal: phones that are far away or silent have rows of their own, which are
// compared with what was measured beside them, and no bars.
func TestReportReal(t *testing.T) {
	t.Parallel()
	var all []*Measurement
	for _, m := range []struct {
		name        string
		rtt, silent int
		rate        float64
	}{
		{"module/straight", 0, 0, 1000}, {"module/straight", 100, 0, 500},
		{"imcd/straight", 0, 0, 1600}, {"imcd/straight", 100, 0, 800}, {"imcd/straight", 100, 6, 400},
	} {
		one := made(m.name, 1, m.rate, 1, 0)
		one.RTT, one.Silent = m.rtt, m.silent
		all = append(all, one)
	}
	for _, m := range all {
		if HasBars(m.Cell) == m.real() {
			t.Errorf("bars of %v: %v", m.Cell, HasBars(m.Cell))
		}
	}
	var out strings.Builder
	if !Report(&out, all) {
		t.Errorf("a bar is missed:\n%s", out.String())
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"100 members, 8 rooms, 100 bytes, 100 ms away imcd/straight 800 0.50 0.10 1.60",
		"100 members, 8 rooms, 100 bytes, 100 ms away, one of 6 silent imcd/straight 400 0.25 0.05 -",
		"100 members, 8 rooms, 100 bytes, 100 ms away module/straight 500 0.50 0.06 1.00",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}
