package devices

import (
	"fmt"
	"io"
	"slices"
	"time"

	"imcd/cmd/imcdbench/internal/contest"
)

// The bars.
const (
	leastOne, mostOne = 0.95, 1.05            // deliveries to one device, over those of an imcd that knows none
	leastTwo          = 0.8                   // deliveries to people with two devices, over those to people with one
	mostLater         = 50 * time.Millisecond // p99 beside dead devices, over the p99 alone
	mostBack          = 2 * time.Second       // until a device has what it has missed
	mostRegistration  = 1.5                   // cost of a registration of people with two devices, over those with one
)

// Report prints the result, and whether it is below the bars.
func (res *Result) Report(w io.Writer) (passed bool) {
	o := res.Options
	fmt.Fprintf(w, "\ndevices: %s, %d rooms of %d, %d rounds\n", res.Contestant, o.Rooms, o.Members, o.Rounds)
	fmt.Fprintf(w, "deliveries/s: %.0f without devices, %.0f to one device, %.0f to two\n", res.Without, res.One, res.Two)
	one, two := quotient(res.One, res.Without), quotient(res.Two, res.One)
	alone, beside := res.Alone.At(0.99), res.Beside.At(0.99)
	cpu := quotient(each(res.TwoRegistrations, cpuOf), each(res.OneRegistration, cpuOf))
	took := quotient(each(res.TwoRegistrations, tookOf), each(res.OneRegistration, tookOf))
	fmt.Fprintf(w, "%d people register after a restart, µs each: with one device %.0f (CPU %.0f), with two %.0f "+
		"(CPU %.0f)\n",
		o.People, each(res.OneRegistration, tookOf), each(res.OneRegistration, cpuOf),
		each(res.TwoRegistrations, tookOf), each(res.TwoRegistrations, cpuOf))
	passed = true
	for _, bar := range []struct {
		ok   bool
		text string
	}{
		{one >= leastOne && one <= mostOne, fmt.Sprintf(
			"deliveries to one device over those without devices: %.2f (bar: %.2f to %.2f)", one, leastOne, mostOne)},
		{two >= leastTwo, fmt.Sprintf("deliveries to two devices over those to one: %.2f (bar: %.2f)", two, leastTwo)},
		{beside <= alone+mostLater, fmt.Sprintf("p99 of a device alone %v, beside %d dead ones %v (bar: %v more)",
			alone.Round(time.Microsecond), o.Dead, beside.Round(time.Microsecond), mostLater)},
		{res.Back <= mostBack, fmt.Sprintf("%d messages after a registration: %v (bar: %v)", o.Messages,
			res.Back.Round(time.Millisecond), mostBack)},
		{cpu <= mostRegistration && took <= mostRegistration, fmt.Sprintf(
			"a registration with two devices over one with one: %.2f times as long, CPU %.2f (bar: %.1f)",
			took, cpu, mostRegistration)},
		{res.Lost == 0 && res.Twice == 0, fmt.Sprintf("%d lost (bar: 0), %d twice (bar: 0)", res.Lost, res.Twice)},
	} {
		passed = contest.Verdict(w, bar.ok, "%s", bar.text) && passed
	}
	return passed
}

func cpuOf(r Registrations) time.Duration  { return r.CPU }
func tookOf(r Registrations) time.Duration { return r.Took }

// each is what a registration costs, in µs, in each round.
func each(all []Registrations, cost func(Registrations) time.Duration) (costs []float64) {
	for _, r := range all {
		costs = append(costs, float64(cost(r).Nanoseconds())/1000/float64(max(r.Count, 1)))
	}
	return costs
}

// quotient is the quotient of two medians; 0 if one of them is missing.
func quotient(a, b []float64) float64 {
	if len(a) == 0 || len(b) == 0 || median(b) == 0 {
		return 0
	}
	return median(a) / median(b)
}

func median(list []float64) float64 {
	sorted := slices.Sorted(slices.Values(list))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
