package evapi

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"imcd/evapi/evapitest/kit"
)

// While Kamailio's memory is low it gets replies, and copies slowly, answers first; and the
// others as soon as it has memory again. The log says so once each.
func TestLowMemory(t *testing.T) {
	t.Parallel()
	var low atomic.Bool
	low.Store(true)
	copies, replies := make(chan string, 10), make(chan string, 10)
	f := newFake(t, func(p *fakePeer) {
		for frames, ping := range p.windows() {
			for _, frame := range frames {
				if strings.HasPrefix(frame, uacStart) {
					copies <- frame
				} else {
					replies <- frame
				}
			}
			free, shm := 99<<20, 100<<20
			if low.Load() {
				free, shm = 24, 100 // at 2 bytes a second, the next copy goes in hours
			}
			p.send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"imc.pong","params":{"id":%q,"shm_free":%d,"shm":%d}}`,
				pingID(ping), free, shm))
		}
	})
	log, cfg := &kit.Output{}, testConfig(f.addr())
	cfg.Log = zerolog.New(log)
	c := startConn(t, cfg, &recorder{})
	kit.Eventually(t, "memory known", func() bool { return c.Stats().MemoryShort })
	o := simpleOutgoing(t, "hello")
	for i, first := range []bool{false, false, true} {
		if i == 1 {
			<-copies
		}
		if err := c.Send(Copy{Out: o, To: "sip:a@h", CallID: fmt.Sprint("copy", i), First: first}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		if err := c.Reply(TxID{Index: int64(i)}, Answer{Code: 200}); err != nil {
			t.Fatal(err)
		}
		<-replies
	}
	if s := c.Stats(); s.Held == 0 || s.Queued < 2 || !s.MemoryShort || len(copies) != 0 {
		t.Errorf("held %d times, %d wait, short %v, %d went", s.Held, s.Queued, s.MemoryShort, len(copies))
	}
	low.Store(false)
	if first, second := <-copies, <-copies; !strings.Contains(first, "copy2") || !strings.Contains(second, "copy1") {
		t.Errorf("%s went ahead of %s", first, second)
	}
	kit.Eventually(t, "not short", func() bool { return !c.Stats().MemoryShort })
	for _, line := range []string{"Kamailio is short of shared memory", "Kamailio has shared memory again"} {
		if n := log.Count(line); n != 1 {
			t.Errorf("%q was logged %d times", line, n)
		}
	}
}

// TestMemorySlope: the less is left, the fewer copies go, but some always do; with a third
// or more, or if Kamailio does not say, nothing holds them.
func TestMemorySlope(t *testing.T) {
	t.Parallel()
	const total, seconds = 64 << 20, 60
	last := seconds * 1000
	for _, tc := range []struct {
		free, total uint64
		want        float64 // copies a second
	}{
		{0, 0, 1000},
		{total, total, 1000},
		{total/3 + 1, total, 1000},
		{total / 100 * 33, total, 86.5},
		{total / 100 * 30, total, 78.6},
		{total / 100 * 20, total, 52.4},
		{total / 100 * 10, total, 26.2},
		{total / 100 * 5, total, 13.1},
		{total / 100, total, 2.6},
		{0, total, 0},
	} {
		var m memory
		n, now := 0, time.Unix(1e9, 0)
		for range seconds * 1000 { // at most one in a millisecond
			now = now.Add(time.Millisecond)
			m.update(tc.free, tc.total, now)
			m.since.Store(0) // as if each pong had a figure of its own
			if m.may(&m.frames, now) {
				m.took(&m.frames, loopedCopy)
				n++
			}
		}
		if rate := float64(n) / seconds; rate < tc.want*0.97-0.1 || rate > tc.want*1.03+0.1 || n > last {
			t.Errorf("with %d of %d bytes left %.1f copies a second, want %.1f", tc.free, tc.total, rate, tc.want)
		}
		last = n
	}
}

// TestMemoryBalance: copies as many as may go leave calls half of what these have left, at
// least, whatever that is; and are steady.
func TestMemoryBalance(t *testing.T) {
	t.Parallel()
	const total = 64 << 20
	for percent := uint64(1); percent < 33; percent += 4 {
		calls := total / 100 * percent // what they leave
		var m memory
		now := time.Unix(1e9, 0)
		var kept []time.Time              // copies that Kamailio still has
		lowest, counts := calls, [6]int{} // copies in each 10 s
		for ms := range 60_000 {
			now = now.Add(time.Millisecond)
			for len(kept) > 0 && now.Sub(kept[0]) >= keptFor {
				kept = kept[1:]
			}
			if ms%50 == 0 { // a pong
				free := calls - min(calls, uint64(len(kept))*loopedCopy)
				m.update(free, total, now)
				lowest = min(lowest, free)
			}
			for i := 0; i < 1000 && m.may(&m.frames, now); i++ {
				m.took(&m.frames, loopedCopy)
				kept = append(kept, now)
				counts[ms/10_000]++
			}
		}
		if lowest < calls/2-loopedCopy {
			t.Errorf("calls leave %d%%, and copies %d of these %d bytes", percent, lowest, calls)
		}
		if most, least := slices.Max(counts[1:]), slices.Min(counts[1:]); least == 0 || most > 2*least+4 {
			t.Errorf("calls leave %d%%: copies in each 10 s %v", percent, counts)
		}
	}
}

// TestMemoryToldOnce: not each step across the border is a line in the log.
func TestMemoryToldOnce(t *testing.T) {
	t.Parallel()
	var m memory
	for i, tc := range []struct {
		free    uint64
		changed bool
		short   bool
	}{{90, false, false}, {29, true, true}, {31, false, true}, {29, false, true}, {35, false, true}, {36, true, false},
		{31, false, false}, {30, false, false}, {29, true, true}} {
		if changed := m.update(tc.free, 90, time.Now()); changed != tc.changed || m.short.Load() != tc.short {
			t.Errorf("step %d, %d of 90 free: changed %v, short %v", i, tc.free, changed, m.short.Load())
		}
	}
}

// TestMemoryBetweenFigures: Kamailio's figure is up to a second old. Copies that go meanwhile
// do not take more than down to a sixth of its memory at full speed, and a figure that does not
// change sets no limit for longer than that.
func TestMemoryBetweenFigures(t *testing.T) {
	t.Parallel()
	const total, free = 512 << 20, 200 << 20
	var m memory
	now := time.Unix(1e9, 0)
	burst := func() (n int) {
		for n = 0; n < 100_000 && m.may(&m.frames, now); n++ {
			m.took(&m.frames, loopedCopy)
		}
		return n
	}
	most := (free - total/6) / loopedCopy
	for i, tc := range []struct {
		after time.Duration
		free  uint64
		want  int
	}{{0, free, most}, {100 * time.Millisecond, free, 0}, {100 * time.Millisecond, free + 1, most}, {figureAge + 1,
		free + 1, most}} {
		now = now.Add(tc.after)
		m.update(tc.free, total, now)
		if n := burst(); n < tc.want || n > tc.want+tc.want/20+100 {
			t.Errorf("step %d: %d copies at once, want %d", i, n, tc.want)
		}
	}
}
