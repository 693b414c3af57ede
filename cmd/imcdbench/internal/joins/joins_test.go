package joins

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"imcd/cmd/imcdbench/internal/contest"
	"imcd/cmd/imcdbench/internal/load"
	"imcd/cmd/internal/stack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRun lets a few people join: all are answered, and the copies are counted.
func TestRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	binary, err := stack.BuildPlain(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	lab, err := contest.NewLab(contest.Options{Binary: binary, Workers: 2, SHM: 256, Sockets: 1, Sizes: []int{1},
		Rooms: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	}()
	var raw strings.Builder
	res, err := Run(ctx, lab, contest.Find("imcd/documented"), Options{People: 6, Part: 2, Quiet: 300 * time.Millisecond},
		&raw, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	// In a small room each member is told of each join: the member that was there and
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
