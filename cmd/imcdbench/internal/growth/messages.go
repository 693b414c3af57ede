package growth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"imcd/cmd/imcdbench/internal/contest"
	"imcd/cmd/imcdbench/internal/load"
	"imcd/cmd/imcdbench/internal/rig"
)

// deliveries is how many it takes to measure one size.
const deliveries = 20000

// messages measures messages by members of the room, straight to the sink.
func messages(ctx context.Context, o Options, out rig.Output, note func(Step)) (err error) {
	o.Lab.Rooms = make(map[int]int)
	for _, size := range o.Sizes {
		o.Lab.Rooms[size] = 1
	}
	r, err := rig.Start(ctx, o.Lab, contest.Find("imcd/straight"), out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Stop()) }()
	if _, err := deliver(ctx, r, o.Sizes[0], min(100, o.Messages)); err != nil { // caches and connections are warm then
		return err
	}
	for _, size := range o.Sizes {
		if err := measure(ctx, r, size, min(o.Messages, max(3, deliveries/size)), note); err != nil {
			return fmt.Errorf("a room of %d: %w", size, err)
		}
	}
	return nil
}

func measure(ctx context.Context, r *rig.Rig, size, n int, note func(Step)) error {
	before, err := r.CPU()
	if err != nil {
		return err
	}
	res, err := deliver(ctx, r, size, n)
	if err != nil {
		return err
	}
	after, err := r.CPU()
	if err != nil {
		return err
	}
	note(Step{What: "message: until the last member has it", N: size, Value: ms(res.Complete.At(0.5)), Unit: "ms"})
	note(Step{What: "message: CPU of everything", N: size, Value: ms(after-before) / float64(res.Sent), Unit: "ms"})
	return nil
}

func deliver(ctx context.Context, r *rig.Rig, size, n int) (*load.Result, error) {
	return r.Deliver(ctx, n, load.Plan{Rooms: r.Rooms(size, 1), For: time.Minute, Quiet: 10 * time.Second})
}
