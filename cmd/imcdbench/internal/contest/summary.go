package contest

import (
	"slices"
	"time"

	"imcd/cmd/imcdbench/internal/load"
)

// figures are the medians of a contestant's rounds with a cell. Times are in
// seconds, memory in MB.
type figures struct {
	rounds    int
	rate      float64 // deliveries per second, to the last one
	steady    float64 // the same while messages were sent
	answer50  float64 // under load
	answer99  float64
	last50    float64 // until the last member has it, under load
	lastMax   float64
	paced50   float64 // answers, one message at a time
	paced99   float64
	alone50   float64            // until the last member has it, one at a time
	cpu       map[string]float64 // per 1000 deliveries
	cpuAll    float64
	memory    map[string]float64
	shm       float64
	generator float64
	// p99 of REGISTER before and during the load; 0: not measured.
	registerIdle, registerBusy float64

	// Sums of all rounds.
	lost, duplicates, retransmissions, refused, drops int64
}

// key names a group of measurements.
type key struct {
	contestant string
	cell       Cell
}

// summarize makes the figures of each contestant and cell.
func summarize(all []*Measurement) map[key]*figures {
	groups := make(map[key][]*Measurement)
	for _, m := range all {
		k := key{m.Contestant, m.Cell}
		groups[k] = append(groups[k], m)
	}
	table := make(map[key]*figures, len(groups))
	for k, group := range groups {
		table[k] = figuresOf(group)
	}
	return table
}

func figuresOf(group []*Measurement) *figures {
	med := func(value func(m *Measurement) float64) float64 {
		values := make([]float64, len(group))
		for i, m := range group {
			values[i] = value(m)
		}
		return median(values)
	}
	seconds := func(times func(m *Measurement) time.Duration) float64 {
		return med(func(m *Measurement) float64 { return times(m).Seconds() })
	}
	f := &figures{rounds: len(group),
		rate:      med(func(m *Measurement) float64 { return m.Loaded.PerSecond() }),
		steady:    med(func(m *Measurement) float64 { return m.Loaded.Steady() }),
		answer50:  seconds(func(m *Measurement) time.Duration { return m.Loaded.Answers.At(0.5) }),
		answer99:  seconds(func(m *Measurement) time.Duration { return m.Loaded.Answers.At(0.99) }),
		last50:    seconds(func(m *Measurement) time.Duration { return m.Loaded.Complete.At(0.5) }),
		lastMax:   seconds(func(m *Measurement) time.Duration { return m.Loaded.Complete.At(1) }),
		paced50:   seconds(func(m *Measurement) time.Duration { return m.Paced.Answers.At(0.5) }),
		paced99:   seconds(func(m *Measurement) time.Duration { return m.Paced.Answers.At(0.99) }),
		alone50:   seconds(func(m *Measurement) time.Duration { return m.Paced.Complete.At(0.5) }),
		shm:       med(func(m *Measurement) float64 { return float64(m.SHM) / (1 << 20) }),
		generator: med(func(m *Measurement) float64 { return m.Generator }),
		cpu:       make(map[string]float64), memory: make(map[string]float64),
	}
	if group[0].Busy != nil {
		f.registerIdle = seconds(func(m *Measurement) time.Duration { return m.Idle.Times.At(0.99) })
		f.registerBusy = seconds(func(m *Measurement) time.Duration { return m.Busy.Times.At(0.99) })
	}
	for part := range group[0].CPU {
		f.cpu[part] = med(func(m *Measurement) float64 { return per1000(m.CPU[part], m.Deliveries()) })
		f.memory[part] = med(func(m *Measurement) float64 { return float64(m.Memory[part]) / (1 << 20) })
		f.cpuAll += f.cpu[part]
	}
	for _, m := range group {
		f.add(m)
	}
	return f
}

// add adds what is summed up over rounds.
func (f *figures) add(m *Measurement) {
	for _, r := range []*load.Result{m.Paced, m.Loaded} {
		f.lost += r.Lost
		f.duplicates += r.Duplicates
		f.retransmissions += r.Retransmissions
		f.refused += int64(r.Sent - r.Accepted)
	}
	f.retransmissions += m.Extra
	f.drops += m.Drops["kamailio"] + m.Drops["sink"]
}

func per1000(d time.Duration, deliveries int64) float64 {
	if deliveries == 0 {
		return 0
	}
	return d.Seconds() * 1000 / float64(deliveries)
}

func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	if n == 0 {
		return 0
	}
	return (values[(n-1)/2] + values[n/2]) / 2
}
