package contest

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// printReal compares deliveries to phones that are far away or silent with those to the
// nearest phones that were measured beside them, and with what one copy at a time under
// way to each member allows.
func printReal(w io.Writer, table map[key]*figures, all []*Measurement) {
	cells := slices.DeleteFunc(cellsOf(all), func(c Cell) bool { return !c.real() })
	if len(cells) == 0 {
		return
	}
	fmt.Fprint(w, "\nreal phones, deliveries/s: of those with the nearest phones measured; of members over round trip;"+
		" of the module's\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\t\tdeliv/s\tnearest\tround trip\tmodule\t")
	for _, c := range cells {
		for _, name := range contestantsOf(all) {
			f := table[key{name, c}]
			if f == nil {
				continue
			}
			trips := 0.0 // one copy to each member in each round trip
			if c.RTT > 0 {
				trips = float64(c.Members*c.Rooms) / c.rtt().Seconds()
			}
			fmt.Fprintf(t, "%v\t%s\t%.0f\t%s\t%s\t%s\t\n", c, name, f.rate,
				share(f.rate, rateOf(table[key{name, nearest(all, c)}])),
				share(f.rate, trips),
				share(f.rate, rateOf(table[key{moduleOf(name), c}])))
		}
	}
	_ = t.Flush() // see printCell
}

func rateOf(f *figures) float64 {
	if f == nil {
		return 0
	}
	return f.rate
}

func share(value, of float64) string {
	if of == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", value/of)
}

// nearest is the measured cell that differs from c in its phones alone, and whose phones
// are nearest: all answer, if that was measured, and as soon as possible.
func nearest(all []*Measurement, c Cell) Cell {
	for _, other := range cellsOf(all) { // in this order
		if other.Members == c.Members && other.Rooms == c.Rooms && other.Body == c.Body {
			return other
		}
	}
	return c
}

// moduleOf is the module in a contestant's set-up.
func moduleOf(name string) string {
	_, setUp, _ := strings.Cut(name, "/")
	return string(module) + "/" + setUp
}
