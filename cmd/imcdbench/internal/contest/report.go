package contest

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// column is one column of the table.
type column struct {
	head  string
	value func(f *figures) string
}

func columns() []column {
	ms := func(s float64) string { return fmt.Sprintf("%.4g", s*1000) }
	cpu := func(part string) func(f *figures) string {
		return func(f *figures) string {
			if v, ok := f.cpu[part]; ok {
				return fmt.Sprintf("%.3f", v)
			}
			return "-"
		}
	}
	memory := func(part string) func(f *figures) string {
		return func(f *figures) string {
			if v, ok := f.memory[part]; ok {
				return fmt.Sprintf("%.0f", v)
			}
			return "-"
		}
	}
	count := func(n func(f *figures) int64) func(f *figures) string {
		return func(f *figures) string { return fmt.Sprint(n(f)) }
	}
	register := func(f *figures) string {
		if f.registerBusy == 0 {
			return "-"
		}
		return ms(f.registerIdle) + "/" + ms(f.registerBusy)
	}
	return []column{
		{"deliv/s", func(f *figures) string { return fmt.Sprintf("%.0f", f.rate) }},
		{"steady", func(f *figures) string { return fmt.Sprintf("%.0f", f.steady) }},
		{"answer p50/p99", func(f *figures) string { return ms(f.answer50) + "/" + ms(f.answer99) }},
		{"last p50/max", func(f *figures) string { return ms(f.last50) + "/" + ms(f.lastMax) }},
		{"alone: answer p50/p99", func(f *figures) string { return ms(f.paced50) + "/" + ms(f.paced99) }},
		{"last p50", func(f *figures) string { return ms(f.alone50) }},
		{"CPU kamailio", cpu("kamailio")}, {"imcd", cpu("imcd")}, {"postgres", cpu("postgres")},
		{"MB kamailio", memory("kamailio")}, {"imcd", memory("imcd")}, {"postgres", memory("postgres")},
		{"resent", count(func(f *figures) int64 { return f.retransmissions })},
		{"lost", count(func(f *figures) int64 { return f.lost })},
		{"twice", count(func(f *figures) int64 { return f.duplicates })},
		{"refused", count(func(f *figures) int64 { return f.refused })},
		{"dropped", count(func(f *figures) int64 { return f.drops })},
		{"register", register},
		{"generator", func(f *figures) string { return fmt.Sprintf("%.2f", f.generator) }},
	}
}

const legend = `Medians of the rounds; resent, lost, twice, refused and dropped are sums of all rounds. Times in ms,
CPU in seconds per 1000 deliveries. deliv/s: from the first message to the last delivery; steady: while messages were
sent. answer: until the sender's socket had its 200; last: until the last member has read the message; alone: one
message at a time. MB: imcd's peak, the others' share of physical memory. resent: retransmissions that Kamailio or the
sink saw. dropped: datagrams that did not fit a socket's buffer. register: p99 of REGISTER, before and during the
load, if not all phones answer at once. generator: cores that sender and sink used.
`

// Report prints tables, ratios and the verdicts on the bars. It returns whether
// all of these are passed.
func Report(w io.Writer, all []*Measurement) bool {
	table := summarize(all)
	fmt.Fprint(w, legend)
	for _, c := range cellsOf(all) {
		printCell(w, table, c, contestantsOf(all))
	}
	printRatios(w, table, all)
	printReal(w, table, all)
	return printVerdicts(w, table, all)
}

func printCell(w io.Writer, table map[key]*figures, c Cell, contestants []string) {
	fmt.Fprintf(w, "\n%v\n", c)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	cols := columns()
	fmt.Fprint(t, "\t")
	for _, col := range cols {
		fmt.Fprint(t, col.head, "\t")
	}
	fmt.Fprintln(t)
	for _, name := range contestants {
		f := table[key{name, c}]
		if f == nil {
			continue
		}
		fmt.Fprint(t, name, "\t")
		for _, col := range cols {
			fmt.Fprint(t, col.value(f), "\t")
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush() // what cannot be printed to a terminal is not missed
}

// cellsOf and contestantsOf list what was measured, in that order.
func cellsOf(all []*Measurement) (cells []Cell) {
	for _, m := range all {
		if !slices.Contains(cells, m.Cell) {
			cells = append(cells, m.Cell)
		}
	}
	slices.SortFunc(cells, compareCells)
	return cells
}

func contestantsOf(all []*Measurement) (names []string) {
	for _, m := range all {
		if !slices.Contains(names, m.Contestant) {
			names = append(names, m.Contestant)
		}
	}
	return names
}
