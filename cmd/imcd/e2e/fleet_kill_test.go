package e2e

import (
	"testing"
	"time"

	"imcd/evapi/evapitest/kit"
)

// restartSilence is how long no message of a room may be answered 2xx when imcd is killed and started
// again at once.
const restartSilence = 2 * time.Second

// TestFleetKillLoop: imcd is killed again and again while a crowd talks.
func TestFleetKillLoop(t *testing.T) {
	f := startOne(t)
	for range 4 {
		if err := f.imcd[0].Kill9(); err != nil {
			t.Fatal(err)
		}
		if err := f.imcd[0].StartImcd(kit.Context(t)); err != nil {
			t.Fatal(err)
		}
		f.more(t, 2*fleetRate)
	}
	if s := f.judge(t, f.primary); s.Took > restartSilence {
		t.Errorf("%s was silent for %v from %v on", s.Room, s.Took, s.From)
	}
}
