// Package growth measures how imcd's costs grow with its rooms and their members: of a message, of a start, of memory.
package growth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"

	"imcd/cmd/imcdbench/internal/contest"
	"imcd/cmd/imcdbench/internal/rig"
)

// Options of Run.
type Options struct {
	Lab      contest.Options // Rooms are set by Run
	Sizes    []int           // of rooms, for messages
	Rooms    []int           // for starts and memory, in ascending order
	Members  int             // of each of these rooms
	Messages int             // at most so many are sent to a room
	Repeat   int             // how often each is measured; the median counts
	Rest     time.Duration   // until memory is looked at again
}

// Step is one figure for one size.
type Step struct {
	Kind  string  `json:"kind"` // growth
	What  string  `json:"what"`
	N     int     `json:"n"`     // members or rooms
	Value float64 `json:"value"` // what grows with N
	Unit  string  `json:"unit"`
	// Ratio compares with the cheapest way there is; 0: not compared.
	Ratio float64 `json:"ratio,omitempty"`
	// At most, for Ratio; 0: no bar. It counts for the largest N only.
	Most float64 `json:"most,omitempty"`
}

// Run measures everything.
func Run(ctx context.Context, o Options, out rig.Output) ([]Step, error) {
	var all []Step
	order := make(map[string]int) // what was measured first comes first
	note := func(s Step) {
		s.Kind = "growth"
		if _, known := order[s.What]; !known {
			order[s.What] = len(order)
		}
		all = append(all, s)
		fmt.Fprintf(out.Progress, "%s, %d: %.4g %s\n", s.What, s.N, s.Value, s.Unit)
	}
	err := messages(ctx, o, out, note)
	if err == nil {
		err = starts(ctx, o, note)
	}
	slices.SortStableFunc(all, func(a, b Step) int { return order[a.What] - order[b.What] })
	enc := json.NewEncoder(out.Raw)
	for _, s := range all {
		err = errors.Join(err, enc.Encode(s))
	}
	return all, err
}

// slack is by how much ten times as much may cost more than ten times: the
// exponent of a linear cost is 1, and measurements differ by more than nothing.
const slack = 0.15

// Report prints the steps, each with its exponent over the one before, and
// whether any grows faster than linearly.
func Report(w io.Writer, all []Step) bool {
	fmt.Fprintln(w, "\ngrowth (exponent: 1 is linear; of the step from the line before)")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "what\tn\tvalue\tunit\texponent\tratio\t")
	var missed []string
	for i, s := range all {
		exponent := "-"
		if i > 0 && all[i-1].What == s.What {
			e := math.Log(s.Value/all[i-1].Value) / math.Log(float64(s.N)/float64(all[i-1].N))
			exponent = fmt.Sprintf("%.2f", e)
			if e > 1+slack {
				missed = append(missed, fmt.Sprintf("%s grows with exponent %.2f at %d", s.What, e, s.N))
			}
		}
		ratio := "-"
		if s.Ratio > 0 {
			ratio = fmt.Sprintf("%.2f", s.Ratio)
		}
		last := i+1 == len(all) || all[i+1].What != s.What
		if last && s.Most > 0 && s.Ratio > s.Most {
			missed = append(missed, fmt.Sprintf("%s: ratio %.2f at %d, at most %g is the bar", s.What, s.Ratio, s.N,
				s.Most))
		}
		fmt.Fprintf(t, "%s\t%d\t%.4g\t%s\t%s\t%s\t\n", s.What, s.N, s.Value, s.Unit, exponent, ratio)
	}
	_ = t.Flush() // what cannot be printed to a terminal is not missed
	for _, m := range missed {
		contest.Verdict(w, false, "%s", m)
	}
	return len(missed) == 0 && contest.Verdict(w, true, "nothing grows faster than linearly, no bar is missed")
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
