package fairness

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"imcd/cmd/imcdbench/internal/contest"
	"imcd/cmd/imcdbench/internal/load"
)

// mostOver is the bar: how many times as long as alone the small room's p99 may take.
const mostOver = 2

// Report prints the result, and whether each case with a bar is below it.
func (res *Result) Report(w io.Writer) (passed bool) {
	fmt.Fprintf(w, "\nfairness: %s, a room of %d, in which something is said each %v, alone and beside others; ms\n",
		res.Contestant, res.Options.Small, res.Options.Every)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tanswer p50\tp99\tof alone\tmax\tlast copy p50\tp99\tof alone\tmax\t"+
		"messages\trefused\tlost\tresent\tdropped\tothers/s\tcommands\trefused\t")
	res.Alone.print(t, res.Alone, res.Options)
	for i := range res.Cases {
		res.Cases[i].print(t, res.Alone, res.Options)
	}
	_ = t.Flush() // what cannot be printed to a terminal is not missed
	passed = true
	for i := range res.Cases {
		if f := &res.Cases[i]; f.barred {
			passed = f.verdict(w, res.Alone, res.Options.For/2) && passed
		}
	}
	return passed
}

// print prints a line about all samples, and one about those of the second half, when
// what was said at the beginning is delivered to all that answer.
func (f *Figures) print(w io.Writer, alone *Figures, o Options) {
	f.line(w, f.Case, alone, 0)
	if f != alone {
		f.line(w, "from half on", alone, o.For/2)
	}
}

func (f *Figures) line(w io.Writer, name string, alone *Figures, from time.Duration) {
	fmt.Fprintf(w, "%s\t", name)
	for _, part := range parts() {
		mine, his := f.times(part, from), alone.times(part, 0)
		fmt.Fprintf(w, "%s\t%s\t%.1f\t%s\t", ms(mine.At(0.5)), ms(mine.At(0.99)), over(mine, his), ms(mine.At(1)))
	}
	if from > 0 {
		fmt.Fprintln(w)
		return
	}
	fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t%.0f\t%d\t%d\t\n", len(f.Samples), f.Refused, f.Lost, f.Resent, f.Dropped,
		f.Others, f.Asked, f.Turned)
}

// verdict prints whether a case is below its bar, and nothing is missing; beside that,
// what it takes from half on.
func (f *Figures) verdict(w io.Writer, alone *Figures, half time.Duration) bool {
	ok, text := f.Lost == 0 && f.Refused == 0, ""
	for _, part := range parts() {
		ratio := over(f.times(part, 0), alone.times(part, 0))
		ok = ok && ratio <= mostOver
		text += fmt.Sprintf("%s p99 %.1f times that of alone (%.1f from half on), ", part.name, ratio,
			over(f.times(part, half), alone.times(part, 0)))
	}
	return contest.Verdict(w, ok, "%s: %s%d refused, %d lost (bar: %d times, 0, 0)", f.Case, text, f.Refused, f.Lost,
		mostOver)
}

// part is one of the times in a sample.
type part struct {
	name  string
	value func(s load.Sample) time.Duration
}

func parts() []part {
	return []part{
		{"answer", func(s load.Sample) time.Duration { return s.Answer }},
		{"last copy", func(s load.Sample) time.Duration { return s.Complete }},
	}
}

// times are those of the messages that were sent so long after the start or later;
// without those that never came, which are counted elsewhere.
func (f *Figures) times(p part, from time.Duration) (t load.Times) {
	for _, s := range f.Samples {
		if d := p.value(s); d > 0 && s.At >= from {
			t = append(t, int64(d))
		}
	}
	slices.Sort(t)
	return t
}

// over compares the p99.
func over(mine, alone load.Times) float64 {
	return float64(mine.At(0.99)) / float64(max(alone.At(0.99), 1))
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/float64(time.Millisecond)) }
