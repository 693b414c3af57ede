package joins

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"imcd/cmd/imcdbench/internal/load"
	"imcd/cmd/imcdbench/internal/rig/rigtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRun lets a few people join: all are answered, and the copies are counted.
func TestRun(t *testing.T) {
	r, raw := rigtest.Start(t, map[int]int{1: 1})
	res, err := Run(rigtest.Context(t), r, Options{People: 6, Part: 2, Quiet: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	// In a small room each member hears of each join: the member that was there and
	// those that joined before, for the owner has no phone; and who joins is answered.
	if res.Copies != 6*(6+1)/2+6 || res.Answers.Codes[200] != 6 || strings.Count(raw.String(), "\n") != 1 {
		t.Errorf("%+v, %d copies", res.Answers, res.Copies)
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		last   time.Duration
		copies int64
		ok     int
		missed int
	}{
		{"below", 2 * time.Millisecond, 200, 200, 0},
		{"slower and slower", 3 * time.Millisecond, 200, 200, 1},
		{"too many copies", 2 * time.Millisecond, 2000, 200, 1},
		{"refused", 2 * time.Millisecond, 200, 199, 1},
	} {
		res := &Result{Options: Options{People: 200, Part: 10}, Lasted: time.Second, Copies: tt.copies,
			Answers: &load.Answers{Times: make([]time.Duration, 200), Codes: map[int]int{200: tt.ok}}}
		for i := range res.Answers.Times {
			res.Answers.Times[i] = time.Millisecond
		}
		res.Answers.Times[195] = tt.last
		var out strings.Builder
		if got := res.Report(&out); got != (tt.missed == 0) || strings.Count(out.String(), "MISSED") != tt.missed {
			t.Errorf("%s: %v\n%s", tt.name, got, out.String())
		}
	}
}
