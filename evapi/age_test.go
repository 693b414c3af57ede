package evapi

import (
	"fmt"
	"testing"
	"time"
)

func TestAgeClock(t *testing.T) {
	start := time.Unix(1000, 0)
	// Kamailio's clock is an hour ahead; the quickest frame takes 1 ms.
	sent := func(at time.Duration) string {
		k := start.Add(at + time.Hour)
		return fmt.Sprintf("%d.%06d", k.Unix(), k.Nanosecond()/1000)
	}
	var c ageClock
	for _, tc := range []struct{ sent, took, want time.Duration }{
		{0, 3 * time.Millisecond, 0},
		{time.Second, time.Millisecond, 0},
		{2 * time.Second, 4 * time.Millisecond, 3 * time.Millisecond},
		{3 * time.Second, 7 * time.Second, 7*time.Second - time.Millisecond}, // frozen meanwhile
		{9 * time.Second, time.Second + time.Millisecond, time.Second},
		{10 * time.Second, time.Millisecond, 0},
		{42 * time.Second, 2 * time.Millisecond, time.Millisecond}, // the next window
		{110 * time.Second, 2 * time.Millisecond, 0},               // the first is forgotten
	} {
		read := start.Add(tc.sent + tc.took)
		if age := c.age(sent(tc.sent), read); age != tc.want {
			t.Errorf("sent at %v, on its way for %v: age %v, want %v", tc.sent, tc.took, age, tc.want)
		}
	}
	for _, s := range []string{"", "x", "12", "1.", ".1", "1.x", "1.-1"} {
		if age := c.age(s, start.Add(time.Hour)); age != 0 {
			t.Errorf("%q: age %v", s, age)
		}
	}
}
