package fairness

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"imcd/cmd/imcdbench/internal/contest"
	"imcd/cmd/internal/stack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRun lets a small room and a big one send for a moment: everything arrives, and
// only the times of the small one are taken.
func TestRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	binary, err := stack.BuildPlain(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	lab, err := contest.NewLab(contest.Options{Binary: binary, Workers: 2, SHM: 256, Sockets: 1, Sizes: []int{2, 40}, Rooms: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	}()
	var raw, out strings.Builder
	res, err := Run(ctx, lab, contest.Find("imcd/documented"), Options{Small: 2, Big: 40, For: 200 * time.Millisecond, Rounds: 1}, &raw, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	alone, beside := len(res.Alone.Complete), len(res.Beside.Complete)
	if res.Lost > 0 || res.Refused > 0 || alone == 0 || beside == 0 || len(res.Alone.Answers) != alone || len(res.Beside.Answers) != beside ||
		res.Deliveries < int64(2*beside)+40 || (res.Deliveries-int64(2*beside))%40 != 0 {
		t.Errorf("%+v", res)
	}
	if res.Report(&out); strings.Count(out.String(), "ratio") != 4 || strings.Count(raw.String(), "\n") != 1 {
		t.Errorf("%s\n%s", out.String(), raw.String())
	}
}
