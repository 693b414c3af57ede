package contest

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// ratio compares two contestants with a cell.
type ratio struct {
	name  string
	value func(r rivals) float64
}

// rivals are the figures that an imcd is compared with; nil: not measured.
type rivals struct {
	documented, straight             *figures // imcd's
	moduleDocumented, moduleStraight *figures
	bare                             *figures // the faster of the two
}

func ratios() []ratio {
	rate := func(f *figures) float64 { return f.rate }
	return []ratio{
		{"documented, deliveries/s", func(r rivals) float64 {
			return quotient(r.documented, r.moduleDocumented, rate)
		}},
		{"straight, deliveries/s", func(r rivals) float64 { return quotient(r.straight, r.moduleStraight, rate) }},
		{"straight over bare", func(r rivals) float64 { return quotient(r.straight, r.bare, rate) }},
		{"documented, answer p99", func(r rivals) float64 {
			return quotient(r.documented, r.moduleDocumented, func(f *figures) float64 { return f.answer99 })
		}},
		{"straight, answer p99", func(r rivals) float64 {
			return quotient(r.straight, r.moduleStraight, func(f *figures) float64 { return f.answer99 })
		}},
		{"documented, alone p99", func(r rivals) float64 {
			return quotient(r.documented, r.moduleDocumented, func(f *figures) float64 { return f.paced99 })
		}},
		{"documented, CPU", func(r rivals) float64 {
			return quotient(r.documented, r.moduleDocumented, func(f *figures) float64 { return f.cpuAll })
		}},
		{"documented, CPU of Kamailio", func(r rivals) float64 {
			return quotient(r.documented, r.moduleDocumented, func(f *figures) float64 { return f.cpu["kamailio"] })
		}},
		{"straight, CPU", func(r rivals) float64 {
			return quotient(r.straight, r.moduleStraight, func(f *figures) float64 { return f.cpuAll })
		}},
	}
}

// quotient is 0 if one of them is missing.
func quotient(a, b *figures, value func(*figures) float64) float64 {
	if a == nil || b == nil || value(b) == 0 {
		return 0
	}
	return value(a) / value(b)
}

func rivalsOf(table map[key]*figures, imcd string, c Cell) rivals {
	r := rivals{
		documented: table[key{imcd + "/documented", c}], straight: table[key{imcd + "/straight", c}],
		moduleDocumented: table[key{"module/documented", c}], moduleStraight: table[key{"module/straight", c}],
		bare: table[key{"bare/1", c}],
	}
	if four := table[key{"bare/4", c}]; four != nil && (r.bare == nil || four.rate > r.bare.rate) {
		r.bare = four
	}
	return r
}

// imcds are the names of the imcd contestants, without their set-up.
func imcds(all []*Measurement) (names []string) {
	seen := make(map[string]bool)
	for _, name := range contestantsOf(all) {
		lane, _, _ := strings.Cut(name, "/")
		if strings.HasPrefix(lane, string(imcd)) && !seen[lane] {
			seen[lane] = true
			names = append(names, lane)
		}
	}
	return names
}

func printRatios(w io.Writer, table map[key]*figures, all []*Measurement) {
	for _, name := range imcds(all) {
		fmt.Fprintf(w, "\n%s / module (or bare), ratios of medians\n", name)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprint(t, "\t")
		for _, r := range ratios() {
			fmt.Fprint(t, r.name, "\t")
		}
		fmt.Fprintln(t)
		for _, c := range cellsOf(all) {
			fmt.Fprintf(t, "%v\t", c)
			rv := rivalsOf(table, name, c)
			for _, r := range ratios() {
				if v := r.value(rv); v > 0 {
					fmt.Fprintf(t, "%.2f\t", v)
				} else {
					fmt.Fprint(t, "-\t")
				}
			}
			fmt.Fprintln(t)
		}
		_ = t.Flush() // see printCell
	}
}

// bar is what a ratio has to reach in a cell.
type bar struct {
	ratio   string
	members int
	rooms   int // 0: any
	least   float64
	most    float64 // 0: no upper limit
}

func bars() []bar {
	return []bar{
		{ratio: "documented, deliveries/s", members: 100, rooms: 8, least: 2},
		{ratio: "straight, deliveries/s", members: 100, rooms: 8, least: 1.1},
		{ratio: "straight over bare", members: 100, rooms: 8, least: 1},
		{ratio: "documented, answer p99", members: 1000, rooms: 1, most: 0.05},
		{ratio: "documented, alone p99", members: 1000, rooms: 1, most: 0.05},
		{ratio: "documented, CPU", members: 100, rooms: 8, most: 0.55},
	}
}

// HasBars reports whether there are bars for a cell; there are none for phones that do
// not all answer at once.
func HasBars(c Cell) bool {
	return c.Body == barBody && !c.real() && slices.ContainsFunc(bars(),
		func(b bar) bool { return b.members == c.Members && b.rooms == c.Rooms })
}

// barBody is the size of the messages that the bars are about.
const barBody = 100

func printVerdicts(w io.Writer, table map[key]*figures, all []*Measurement) bool {
	fmt.Fprintln(w, "\nbars")
	passed := true
	for _, name := range imcds(all) {
		for _, b := range bars() {
			passed = b.print(w, table, name) && passed
		}
		var lost int64
		for k, f := range table {
			if strings.HasPrefix(k.contestant, name+"/") {
				lost += f.lost
			}
		}
		passed = Verdict(w, lost == 0, "%s: lost in all rows: %d (bar 0)", name, lost) && passed
	}
	return passed
}

func (b bar) print(w io.Writer, table map[key]*figures, name string) bool {
	c := Cell{Members: b.members, Rooms: b.rooms, Body: barBody}
	rv := rivalsOf(table, name, c)
	for _, r := range ratios() {
		if r.name != b.ratio {
			continue
		}
		v := r.value(rv)
		if v == 0 {
			return true // not measured
		}
		limit, ok := fmt.Sprintf("at least %.2f", b.least), v >= b.least
		if b.most > 0 {
			limit, ok = fmt.Sprintf("at most %.2f", b.most), v <= b.most
		}
		return Verdict(w, ok, "%s: %s, %v: %.3f (bar: %s)", name, b.ratio, c, v, limit)
	}
	return true
}

// Verdict prints whether a bar is reached, and what was seen. It returns ok.
func Verdict(w io.Writer, ok bool, format string, args ...any) bool {
	word := "passed"
	if !ok {
		word = "MISSED"
	}
	fmt.Fprintf(w, "%s  %s\n", word, fmt.Sprintf(format, args...))
	return ok
}
