package engine

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"imcd/evapi"
)

// TestCreditsServeAll: shards that want more than there is all come to their end,
// whatever the sizes of their copies and whoever's come back first, and never have
// more than there is.
func TestCreditsServeAll(t *testing.T) {
	for _, limits := range [][2]int{{1, 1}, {3, 2}, {7, 100}, {100, 7}, {40, 40}} {
		c := &credits{limit: limits[0], most: limits[1]}
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() { spend(t, c, 500, rand.New(rand.NewPCG(uint64(limits[0]), uint64(i)))) })
		}
		wg.Wait()
		if c.used != 0 || c.units != 0 || len(c.waiters) != 0 || c.turn.Load() != nil {
			t.Errorf("%v: %d copies, %d units, %d shards wait, turn of %p", limits, c.used, c.units, len(c.waiters),
				c.turn.Load())
		}
	}
}

// spend is a shard that sends n copies.
func spend(t *testing.T, c *credits, n int, random *rand.Rand) {
	b := newInbox(1)
	var under []credit
	for n > 0 || len(under) > 0 {
		for len(under) > 0 && (n == 0 || random.IntN(3) > 0) { // outcomes
			c.give(under[0])
			under = under[1:]
		}
		for pump := random.IntN(20); n > 0 && pump > 0; pump-- {
			k := weigh(random.IntN(10) * burstUnit)
			if !c.take(b, k) {
				break
			}
			if used := c.inUse(); used > c.limit {
				t.Errorf("%d copies under way, %d are the limit", used, c.limit)
			}
			under = append(under, k)
			n--
		}
		c.done(b)
		if n > 0 && len(under) == 0 && !c.free(b) {
			<-b.wake
		}
	}
}

// free tells whether b may try again without being woken: nobody waits, not even b.
func (c *credits) free(b *inbox) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.waiters {
		if h.shard == b {
			return false
		}
	}
	return true
}

// TestAllFar: that all phones are far is known from what answers usually take, and not while a full machine keeps those
// of near ones waiting.
func TestAllFar(t *testing.T) {
	for _, tc := range []struct {
		name string
		took [10]time.Duration // answers, again and again, in milliseconds
		far  bool
	}{
		{name: "near", took: [10]time.Duration{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
		{name: "near, the machine is full", took: [10]time.Duration{6, 9, 10, 12, 15, 18, 20, 22, 24, 30}},
		{name: "near, and a silent one", took: [10]time.Duration{1, 1, 1, 1, 1, 1, 1, 1, 1, 250}},
		{name: "20 ms away", took: [10]time.Duration{20, 20, 20, 20, 20, 20, 20, 20, 20, 20}, far: true},
		{name: "far, one is near", took: [10]time.Duration{1, 100, 100, 100, 100, 100, 100, 100, 100, 100}, far: true},
	} {
		c := &credits{limit: 100}
		for i := range 20 * usualOf {
			c.reached(int64(i), tc.took[i%len(tc.took)]*time.Millisecond)
		}
		if c.allFar() != tc.far {
			t.Errorf("%s: %v counts as usual", tc.name, time.Duration(c.usual.Load()))
		}
	}
}

// TestFewerAfterDrops: when datagrams did not fit Kamailio's socket, fewer copies go for some
// seconds, but never none.
func TestFewerAfterDrops(t *testing.T) {
	c := &credits{limit: 100}
	soon := func(dropped uint64) time.Duration {
		c.fit(evapi.Bounds{Paced: true, Dropped: dropped})
		return time.Duration(c.soon.Load())
	}
	if d := soon(7); d != pacedSoon {
		t.Errorf("at the start %v, whatever was dropped before", d)
	}
	if d := soon(8); d != 2*pacedSoon {
		t.Errorf("%v after one did not fit", d)
	}
	if d := soon(8); d >= 2*pacedSoon || d <= pacedSoon {
		t.Errorf("%v a moment later", d)
	}
	for i := range uint64(1000) {
		if d := soon(9 + i); d > burstTime {
			t.Fatalf("%v", d)
		}
	}
	for range 100 {
		soon(2000)
	}
	if d := soon(2000); d != pacedSoon {
		t.Errorf("%v long after", d)
	}
	if c.fit(evapi.Bounds{Dropped: 2000}); time.Duration(c.soon.Load()) != unpacedSoon {
		t.Errorf("%v without a pace", time.Duration(c.soon.Load()))
	}
}
