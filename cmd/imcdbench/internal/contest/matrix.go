package contest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Matrix are the measurements of Run: every cell by every contestant, in every round.
type Matrix struct {
	Cells  []Cell
	Specs  []Spec
	Rounds int
	Timing Timing
}

// Run starts the contestants, lets them deliver, in turns, and stops them.
// Measurements go to raw as lines of JSON, a line about each to progress.
func (l *Lab) Run(ctx context.Context, m Matrix, raw, progress io.Writer) (all []*Measurement, err error) {
	var systems []*System
	defer func() { err = errors.Join(err, Finish(ctx, systems), write(raw, all)) }()
	for _, spec := range m.Specs {
		fmt.Fprintf(progress, "starting %s\n", spec.Name)
		s, err := l.Start(ctx, spec)
		if err != nil {
			return nil, err
		}
		systems = append(systems, s)
	}
	for round := 1; round <= m.Rounds; round++ {
		for _, c := range m.Cells {
			for i := range systems {
				// Who comes first in one round does not in the next.
				at := (i + round - 1) % len(systems)
				s := systems[at]
				got, err := s.Measure(ctx, c, round, m.Timing)
				if err != nil {
					return all, err
				}
				all = append(all, got)
				fmt.Fprintf(progress, "round %d of %d, %v, %s: %.0f deliveries/s, %d lost\n",
					round, m.Rounds, c, s.Spec.Name, got.Loaded.PerSecond(), got.Loaded.Lost+got.Paced.Lost)
				if !got.busy() {
					continue
				}
				fmt.Fprintf(progress, "%s still repeats copies, and is started again\n", s.Spec.Name)
				if systems[at], err = l.again(ctx, s); err != nil {
					return all, err
				}
			}
		}
	}
	return all, nil
}

// again starts a contestant again, so that what it still does is in nobody's way.
func (l *Lab) again(ctx context.Context, s *System) (*System, error) {
	if err := errors.Join(s.Settle(ctx), s.Stop()); err != nil {
		return s, err
	}
	fresh, err := l.Start(ctx, s.Spec)
	if err != nil {
		return s, err
	}
	return fresh, nil
}

func write(raw io.Writer, all []*Measurement) error {
	enc := json.NewEncoder(raw)
	for _, m := range all {
		if err := enc.Encode(m); err != nil {
			return fmt.Errorf("write the raw results: %w", err)
		}
	}
	return nil
}
