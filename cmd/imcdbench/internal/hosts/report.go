package hosts

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"imcd/cmd/imcdbench/internal/contest"
)

// Report prints the rounds, and what several hosts cost beside one. It has passed if nothing was lost or refused.
func (res *Result) Report(w io.Writer) (passed bool) {
	o := res.Options
	fmt.Fprintf(w, "\nhosts: %s, %d senders, %d rooms of %d each; medians of %d rounds\n", res.Contestant, o.Hosts,
		o.Rooms, o.Members, len(res.One))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(table, "hosts\tdeliveries/s\tCPU s per 1000\t\t")
	for _, part := range slices.Sorted(maps.Keys(res.One[0].CPU)) {
		fmt.Fprintf(table, "%s\t", part)
	}
	fmt.Fprintln(table)
	for _, row := range []struct {
		hosts  int
		rounds []Round
	}{{1, res.One}, {o.Hosts, res.Several}} {
		fmt.Fprintf(table, "%d\t%.0f\t%.4f\t\t", row.hosts, median(row.rounds, rate), median(row.rounds, cost))
		for _, part := range slices.Sorted(maps.Keys(res.One[0].CPU)) {
			fmt.Fprintf(table, "%.4f\t", median(row.rounds, func(r Round) float64 { return per1000(r, r.CPU[part]) }))
		}
		fmt.Fprintln(table)
	}
	_ = table.Flush() // w is standard output
	fmt.Fprintf(w, "%d hosts over one: %.2f of the deliveries a second, on as many cores; %.2f of the CPU time for each "+
		"delivery\n", o.Hosts, median(res.Several, rate)/median(res.One, rate),
		median(res.Several, cost)/median(res.One, cost))
	lost, refused := int64(0), 0
	for _, r := range slices.Concat(res.One, res.Several) {
		lost += r.Lost
		refused += r.Refused
	}
	return contest.Verdict(w, lost == 0 && refused == 0, "%d lost, %d refused (bar: 0)", lost, refused)
}

// rate is deliveries per second.
func rate(r Round) float64 { return float64(r.Deliveries) / max(r.Took.Seconds(), 1e-9) }

// cost is CPU seconds per 1000 deliveries.
func cost(r Round) float64 {
	var sum time.Duration
	for _, d := range r.CPU {
		sum += d
	}
	return per1000(r, sum)
}

func per1000(r Round, d time.Duration) float64 {
	return d.Seconds() * 1000 / float64(max(r.Deliveries, 1))
}

func median(rounds []Round, figure func(Round) float64) float64 {
	var list []float64
	for _, r := range rounds {
		list = append(list, figure(r))
	}
	slices.Sort(list)
	return (list[(len(list)-1)/2] + list[len(list)/2]) / 2
}
