package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest/kit"
)

// sharedLatency is how long a sender may wait, for 99 of 100 messages, while imcd share rooms anew.
const sharedLatency = 600 * time.Millisecond

// parts returns how many shards each imcd of f has, the most first.
func (f *fleet) parts(t *testing.T) []int {
	t.Helper()
	owners, _ := f.owners(t)
	counts := make([]int, len(f.imcd))
	for _, i := range owners {
		counts[i]++
	}
	slices.Sort(counts)
	slices.Reverse(counts)
	return counts
}

// shares waits until the imcd of f have so many shards.
func (f *fleet) shares(t *testing.T, want ...int) {
	t.Helper()
	kit.Until(t, kit.Within(t, fleetTime), fmt.Sprint("the shards are divided so: ", want),
		func() bool { return slices.Equal(f.parts(t), want) })
}

// TestFleetShares: imcd divide the rooms among them by themselves, and do so again when one joins, is stopped or is
// killed. Nobody hears anything else than 200.
func TestFleetShares(t *testing.T) {
	f := startFleet(t, &plain, 3, stack.Options{Settings: map[string]string{}})
	f.shares(t, 22, 21, 21)
	fourth := start(t, "", stack.Options{Binary: plain.Path(t), DBURL: f.between(t), Beside: f.imcd[0], Spare: true})
	f.imcd = append(f.imcd, fourth)
	f.shares(t, 16, 16, 16, 16)
	if err := fourth.StopImcd(); err != nil {
		t.Fatal(err)
	}
	f.shares(t, 22, 21, 21, 0)
	f.more(t, fleetRate)
	took := f.crowd.Log().Latencies()
	if late := took[len(took)*99/100]; late > sharedLatency+f.crowd.Stall() {
		t.Errorf("one of 100 messages waited for more than %v", late)
	}
	if err := f.imcd[2].Kill9(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	f.shares(t, 32, 32, 0, 0)
	t.Logf("others have the rooms %v after one was killed", time.Since(killed).Round(time.Millisecond))
	f.more(t, 2*fleetRate)
	f.judgeTakeovers(t)
}
