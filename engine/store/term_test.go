package store

import (
	"testing"
	"time"
)

func TestReadTerm(t *testing.T) {
	for word, want := range map[string]time.Duration{"10m": 10 * time.Minute, "2H": 2 * time.Hour, "7d": 168 * time.Hour,
		"366d": MaxTerm, "367d": 0, "0m": 0, "-1m": 0, "m": 0, "": 0, "1.5h": 0, "99999999999999999999m": 0, "10s": 0} {
		if got, ok := ReadTerm(word); got != want || ok != (want > 0) {
			t.Errorf("%q: %v, %t", word, got, ok)
		} else if again, _ := ReadTerm(ShowTerm(got)); ok && again != got {
			t.Errorf("%v is written %s", got, ShowTerm(got))
		}
	}
}
