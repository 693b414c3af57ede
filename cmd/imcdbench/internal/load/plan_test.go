package load

import (
	"testing"
	"time"
)

func TestPlanIsOver(t *testing.T) {
	t.Parallel()
	least, none := Plan{For: time.Second, Least: 100}, Plan{For: time.Second}
	for _, tt := range []struct {
		name  string
		p     Plan
		after time.Duration
		sent  int
		want  bool
	}{
		{"too early", least, time.Second - 1, 1000, false},
		{"enough in time", least, time.Second, 100, true},
		{"too few", least, 14 * time.Second, 99, false},
		{"enough later", least, 14 * time.Second, 100, true},
		{"too slow", least, 15 * time.Second, 1, true},
		{"no least", none, time.Second, 0, true},
	} {
		if got := tt.p.over(tt.after, tt.sent); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
