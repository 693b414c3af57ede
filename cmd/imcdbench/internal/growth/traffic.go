package growth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"imcd/cmd/imcdbench/internal/contest"
	"imcd/cmd/imcdbench/internal/load"
)

// deliveries is how many it takes to measure one size.
const deliveries = 20000

// traffic measures messages and joins, by members of the room, straight to the
// sink.
func traffic(ctx context.Context, o Options, note func(Step)) (err error) {
	o.Lab.Sizes, o.Lab.Rooms = o.Sizes, 1
	lab, err := contest.NewLab(o.Lab)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	spec := contest.Find("imcd/straight")
	s, err := lab.Start(ctx, spec)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	if _, err := messages(ctx, lab, s, o.Sizes[0], min(100, o.Messages)); err != nil { // caches and connections are warm then
		return err
	}
	byMessages := func(ctx context.Context, lab *contest.Lab, s *contest.System, size int) ([]Step, error) {
		return messageSteps(ctx, lab, s, size, min(o.Messages, max(3, deliveries/size)))
	}
	for _, measure := range []func(context.Context, *contest.Lab, *contest.System, int) ([]Step, error){byMessages, joinSteps} {
		for _, size := range o.Sizes {
			steps, err := measure(ctx, lab, s, size)
			if err != nil {
				return fmt.Errorf("a room of %d: %w", size, err)
			}
			for _, step := range steps {
				note(step)
			}
		}
	}
	return nil
}

func messageSteps(ctx context.Context, lab *contest.Lab, s *contest.System, size, n int) ([]Step, error) {
	before, err := s.CPU()
	if err != nil {
		return nil, err
	}
	res, err := messages(ctx, lab, s, size, n)
	if err != nil {
		return nil, err
	}
	after, err := s.CPU()
	if err != nil {
		return nil, err
	}
	return []Step{
		{What: "message: until the last member has it", N: size, Value: ms(res.Complete.At(0.5)), Unit: "ms"},
		{What: "message: CPU of everything", N: size, Value: ms(after-before) / float64(res.Sent), Unit: "ms"},
	}, nil
}

func messages(ctx context.Context, lab *contest.Lab, s *contest.System, size, n int) (*load.Result, error) {
	res, err := lab.Load.Send(ctx, load.Plan{Addr: s.Addr(), Rooms: s.Rooms(size, 1), Body: 100, For: time.Minute,
		Window: 1, Quiet: 10 * time.Second, Most: n})
	if err != nil {
		return nil, err
	}
	if res.Lost > 0 || res.Accepted != n {
		return nil, fmt.Errorf("%d of %d messages accepted, %d deliveries lost", res.Accepted, n, res.Lost)
	}
	return res, s.Stack().Idle(ctx)
}

// joins is how many users join a room.
const joins = 5

// joinSteps measures joins until all members have been told.
func joinSteps(ctx context.Context, lab *contest.Lab, s *contest.System, size int) ([]Step, error) {
	var answer, told []time.Duration
	before, err := s.CPU()
	if err != nil {
		return nil, err
	}
	for i := range joins {
		start := time.Now()
		room := s.Rooms(size, 1)[0]
		code, err := lab.Load.Say(ctx, s.Addr(), load.Member(lab.Newcomer(i)), room.Name, "#join")
		if err != nil || code != 200 {
			return nil, fmt.Errorf("join was answered %d: %w", code, err)
		}
		answer = append(answer, time.Since(start))
		if err := s.Stack().Idle(ctx); err != nil {
			return nil, err
		}
		told = append(told, time.Since(start))
	}
	after, err := s.CPU()
	if err != nil {
		return nil, err
	}
	return []Step{
		{What: "join: until it is answered", N: size, Value: ms(median(answer)), Unit: "ms"},
		{What: "join: until all are told", N: size, Value: ms(median(told)), Unit: "ms"},
		{What: "join: CPU of everything", N: size, Value: ms(after-before) / joins, Unit: "ms"},
	}, nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
