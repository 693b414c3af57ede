package engine

import (
	"slices"
	"testing"
	"time"
)

// TestRegistersWhileItReturns: imcd sends a device what it is owed over a connection that is dead, and meanwhile the
// device registers again. It gets all that soon, although nothing new is said.
func TestRegistersWhileItReturns(t *testing.T) {
	severalDevices(t, []string{"phone", "tablet"}, func(b *bobs) {
		want := b.misses(3, time.Second)
		b.relay.set(func() { b.relay.silent = map[string]string{"tablet": want[0]} })
		b.comes("tablet")
		pass(time.Second)
		b.relay.set(func() { b.relay.silent = nil })
		b.texts() // it has not got that
		b.reports("tablet", time.Hour)
		pass(30 * time.Second)
		if got := b.texts()["tablet"]; !slices.Equal(got, want) {
			t.Errorf("the tablet got %q", got)
		}
	})
}
