package engine

import (
	"strings"
	"testing"
)

// TestNoticesOfOne: one thing is spoken of in the singular, and a template of an operator
// who knows only {n} serves for one as well.
func TestNoticesOfOne(t *testing.T) {
	for name, tc := range map[string]struct {
		notice    string
		custom    map[string]string
		one, many string
	}{
		"missed": {"missed", nil, "*** 1 message of this room was dropped before it reached you.",
			"*** 7 messages of this room were dropped before they reached you."},
		"not shown": {"not_shown", nil, "*** 1 message could not be shown by your phone.",
			"*** 7 messages could not be shown by your phone."},
		"an operator's": {"missed", map[string]string{"missed": "{n} lost"}, "1 lost", "7 lost"},
		"both":          {"missed", map[string]string{"missed": "{n} lost", "one_missed": "lost"}, "lost", "7 lost"},
		"one only": {"missed", map[string]string{"one_missed": "lost"}, "lost",
			"*** 7 messages of this room were dropped before they reached you."},
	} {
		t.Run(name, func(t *testing.T) {
			n, err := newNotices(tc.custom)
			if err != nil {
				t.Fatal(err)
			}
			for count, want := range map[uint64]string{1: tc.one, 7: tc.many} {
				if got := n.ofMany(tc.notice, count, nil); got != want {
					t.Errorf("%d: %q, want %q", count, got, want)
				}
			}
		})
	}
}

// Every notice about one thing has its counterpart for several.
func TestNoticesOfOneHaveMany(t *testing.T) {
	for name := range defaultNotices {
		if many, ok := strings.CutPrefix(name, ofOne); ok && defaultNotices[many] == "" &&
			defaultNotices["many_"+many] == "" {
			t.Errorf("%s stands alone", name)
		}
	}
}
