package contest

import (
	"context"
	"errors"
	"time"

	"imcd/cmd/imcdbench/internal/load"
	"imcd/cmd/internal/stack"
)

// registerEvery is the time between two REGISTERs.
const registerEvery = 20 * time.Millisecond

// idle measures for a while how long a REGISTER takes while nothing else is under way, if
// not all phones answer at once.
func (s *System) idle(ctx context.Context, m *Measurement, d time.Duration) (err error) {
	if !m.real() {
		return nil
	}
	m.Idle, err = s.Probe(s.lab.Newcomer(0), func() error { return stack.Pause(ctx, d) })
	return err
}

// load carries out the loaded part, with REGISTERs beside it if not all phones answer
// at once.
func (s *System) load(ctx context.Context, m *Measurement, plan load.Plan) (err error) {
	send := func() (err error) {
		m.Loaded, err = s.lab.Load.Send(ctx, plan)
		return err
	}
	if !m.real() {
		return send()
	}
	m.Busy, err = s.Probe(s.lab.Newcomer(0), send)
	return err
}

// Probe registers a user again and again while do runs.
func (s *System) Probe(user int, do func() error) (*load.ProbeResult, error) {
	p, err := s.lab.Load.StartProbe(s.Addr(), user, registerEvery)
	if err != nil {
		return nil, err
	}
	doErr := do()
	res, err := p.Stop()
	return res, errors.Join(doErr, err)
}
