package config

import (
	"maps"
	"slices"
	"testing"
)

// TestMarks: settings that several imcd should have in common are seen as different, and no others are shown.
func TestMarks(t *testing.T) {
	marks := func(text string) map[string]string {
		t.Helper()
		cfg, err := load(t, text, []string{secretEnv})
		if err != nil {
			t.Fatal(err)
		}
		return cfg.Marks
	}
	if m := marks("hash_size: 5\nspare: 1\nrpc_listen: 127.0.0.1:1\nlog_level: debug\nmailbox_size: 9\n"); len(m) != 0 {
		t.Errorf("an imcd of its own has %v", m)
	}
	a := marks("owner_leave: refuse\nretry_min: 7s\nnotices:\n  you_removed: gone\nrate_sender_messages: 3/1s\n")
	want := []string{"notices", "owner_leave", "rate_sender_messages", "retry_min"}
	if got := slices.Sorted(maps.Keys(a)); !slices.Equal(got, want) {
		t.Errorf("it has %v", got)
	}
	b := marks("owner_leave: transfer\nretry_min: 7s\n")
	if a["owner_leave"] == b["owner_leave"] || a["retry_min"] != b["retry_min"] {
		t.Errorf("%v, %v", a, b)
	}
}
