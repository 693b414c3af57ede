// Package fairness measures what a room in which there is always something to send
// does to a small room beside it.
package fairness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"imcd/cmd/imcdbench/internal/contest"
	"imcd/cmd/imcdbench/internal/load"
)

// Options of Run.
type Options struct {
	Small, Big int           // members; the lab has a room of each size
	For        time.Duration // how long the small room is alone, and then beside the big one
	Rounds     int           // how often; the rounds alternate
}

// Result is what was seen, all rounds together.
type Result struct {
	Kind       string         `json:"kind"` // fairness
	Contestant string         `json:"contestant"`
	Small      int            `json:"small"`
	Big        int            `json:"big"`
	Alone      load.RoomTimes `json:"alone"`
	Beside     load.RoomTimes `json:"beside"`
	Deliveries int64          `json:"big_deliveries"` // and those of the small room, while both were sent to
	Lasted     time.Duration  `json:"big_lasted_ns"`
	Lost       int64          `json:"lost"`
	Refused    int            `json:"refused"` // messages that were not accepted
}

// quiet is how long nothing may come before deliveries count as lost.
const quiet = 40 * time.Second

// Run measures the times of the small room of a contestant, an imcd.
func Run(ctx context.Context, lab *contest.Lab, spec contest.Spec, o Options, raw, progress io.Writer) (res *Result, err error) {
	s, err := lab.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	res = &Result{Kind: "fairness", Contestant: spec.Name, Small: o.Small, Big: o.Big}
	small, big := s.Rooms(o.Small, 1)[0], s.Rooms(o.Big, 1)[0]
	for round := range o.Rounds {
		for _, rooms := range [][]load.Room{{small}, {small, big}} {
			fmt.Fprintf(progress, "round %d, %d rooms\n", round+1, len(rooms))
			if err := res.round(ctx, lab, s, rooms, o.For); err != nil {
				return nil, err
			}
		}
	}
	for _, t := range []*load.RoomTimes{&res.Alone, &res.Beside} {
		t.Answers.Sort()
		t.Complete.Sort()
	}
	if err := json.NewEncoder(raw).Encode(res); err != nil {
		return nil, fmt.Errorf("write the raw results: %w", err)
	}
	return res, nil
}

// round sends to the first of rooms one message at a time, and to the second so
// that there is always something to send.
func (res *Result) round(ctx context.Context, lab *contest.Lab, s *contest.System, rooms []load.Room, d time.Duration) error {
	got, err := lab.Load.Send(ctx, load.Plan{Addr: s.Addr(), Rooms: rooms, Body: 100, Window: 2, For: d, Quiet: quiet})
	if err != nil {
		return err
	}
	times := &res.Alone
	if len(rooms) > 1 {
		times = &res.Beside
		res.Deliveries += got.Deliveries
		res.Lasted += got.Elapsed
	}
	times.Answers = append(times.Answers, got.Watched.Answers...)
	times.Complete = append(times.Complete, got.Watched.Complete...)
	res.Lost += got.Lost
	res.Refused += got.Sent - got.Accepted
	return s.Stack().Idle(ctx)
}

// Report prints what was seen; there is no bar for it.
func (res *Result) Report(w io.Writer) {
	fmt.Fprintf(w, "\nfairness: %s, a room of %d, alone and beside one of %d that always sends (both: %.0f deliveries/s, lost %d, refused %d)\n",
		res.Contestant, res.Small, res.Big, float64(res.Deliveries)/max(res.Lasted.Seconds(), 1e-9), res.Lost, res.Refused)
	for _, line := range []struct {
		what          string
		alone, beside load.Times
	}{
		{"answer", res.Alone.Answers, res.Beside.Answers},
		{"last member", res.Alone.Complete, res.Beside.Complete},
	} {
		for _, q := range []float64{0.5, 0.99} {
			a, b := line.alone.At(q), line.beside.At(q)
			fmt.Fprintf(w, "%-12s p%-3.0f alone %10v  beside %10v  ratio %.1f\n", line.what, q*100, a.Round(time.Microsecond),
				b.Round(time.Microsecond), float64(b)/float64(max(a, 1)))
		}
	}
	fmt.Fprintf(w, "%d messages alone, %d beside\n", len(res.Alone.Answers), len(res.Beside.Answers))
}
