// Package comeback measures how long a member takes to get what was kept for it while it
// had no phone, by how far away its phone is.
package comeback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"imcd/cmd/imcdbench/internal/contest"
	"imcd/cmd/imcdbench/internal/load"
	"imcd/cmd/imcdbench/internal/rig"
)

// Options of Run.
type Options struct {
	Messages int           // that are kept
	RTT      time.Duration // of the phone
	Window   int           // imcd's member_window, which says what is expected
}

// Result is the result of a Run.
type Result struct {
	Kind       string        `json:"kind"` // return
	Contestant string        `json:"contestant"`
	Options    Options       `json:"options"`
	Near       time.Duration `json:"near_ns"` // from the registration to the last message, the phone answers at once
	Far        time.Duration `json:"far_ns"`  // the same, the phone is RTT away
	Lost       int64         `json:"lost"`
	Twice      int64         `json:"twice"`
}

// perSecond is how many messages are said a second while the member is away.
const perSecond = 500

// Run has a member come back. The rig must have a room of one member.
func Run(ctx context.Context, r *rig.Rig, o Options) (res *Result, err error) {
	res = &Result{Kind: "return", Contestant: r.Spec.Name, Options: o}
	for _, trial := range []struct {
		rtt  time.Duration
		took *time.Duration
	}{{0, &res.Near}, {o.RTT, &res.Far}} {
		if *trial.took, err = res.once(ctx, r, trial.rtt); err != nil {
			return nil, err
		}
		r.Progress("a phone %v away: %d messages in %v", trial.rtt, o.Messages, *trial.took)
	}
	return res, r.Keep(res)
}

// once lets the member leave, and come back with a phone that is so far away.
func (res *Result) once(ctx context.Context, r *rig.Rig, rtt time.Duration) (time.Duration, error) {
	room := r.Rooms(1, 1)
	if err := r.Load().Unregister(ctx, r.Addr(), room[0].Base, 1); err != nil {
		return 0, err
	}
	r.Load().Sink.Set(load.Phones{RTT: rtt})
	n := res.Options.Messages
	got, err := r.Send(ctx, load.Plan{Rooms: room, For: time.Hour, Rate: perSecond, Most: n,
		Quiet: 10*time.Second + 10*rtt,
		Then:  func(ctx context.Context) error { return r.Load().Register(ctx, r.Addr(), room[0].Base, 1) }})
	if err != nil {
		return 0, err
	}
	if got.Accepted != n {
		return 0, fmt.Errorf("%d of %d messages were accepted", got.Accepted, n)
	}
	if got.InTime > 0 {
		return 0, errors.New("the member has got something while it was away")
	}
	res.Lost += got.Lost
	res.Twice += got.Duplicates
	return got.AfterThen, r.Idle(ctx)
}

// The bars, of round trips: with one copy under way to the member at a time, and with
// eight or more.
const (
	mostAlone    = 1.1
	mostWindowed = 0.2
	windowed     = 8
)

// Report prints the result, and whether it is below the bar.
func (res *Result) Report(w io.Writer) (passed bool) {
	o := res.Options
	trips := time.Duration(o.Messages) * o.RTT
	most := mostAlone
	if o.Window >= windowed {
		most = mostWindowed
	}
	ratio := float64(res.Far) / float64(max(trips, 1))
	fmt.Fprintf(w, "\nreturn: %s, member_window %d, %d messages kept for a member that comes back\n", res.Contestant,
		o.Window, o.Messages)
	fmt.Fprintf(w, "its phone answers at once: %v; %v away: %v, that is %.1f times as long\n",
		res.Near.Round(time.Millisecond), o.RTT, res.Far.Round(time.Millisecond),
		float64(res.Far)/float64(max(res.Near, 1)))
	return contest.Verdict(w, ratio <= most && res.Lost == 0,
		"%.3f of %d round trips (bar: %.1f), %d lost (bar: 0), %d twice", ratio, o.Messages, most, res.Lost, res.Twice)
}
