// Package devices measures what several devices of a person cost: deliveries, a device that comes back, dead devices,
// and registrations after a restart of Kamailio.
package devices

import (
	"context"
	"fmt"
	"slices"
	"time"

	"imcd/cmd/imcdbench/internal/load"
	"imcd/cmd/imcdbench/internal/rig"
	"imcd/cmd/internal/stack"
)

// Options of Run.
type Options struct {
	Rooms, Members int           // of deliveries
	For            time.Duration // how long messages are sent in each measurement of deliveries
	Rounds         int           // of deliveries, and of registrations
	Messages       int           // that a device misses which comes back
	Dead           int           // devices that never answer
	Paced          int           // messages beside dead devices
	Every          time.Duration // between two of these
	People         int           // that register again after a restart of Kamailio
	Rest           time.Duration // how long imcd works at these registrations after the last one, at most
}

// Sizes are the rooms that the rigs must have, by size: half of them are of people with two devices.
func (o Options) Sizes() map[int]int { return map[int]int{1: 3, o.Members: 2 * o.Rooms, o.People: 2} }

// Result is the result of a Run.
type Result struct {
	Kind       string  `json:"kind"` // devices
	Contestant string  `json:"contestant"`
	Options    Options `json:"options"`
	// Without, One and Two are deliveries per second, in each round: of an imcd that does not tell devices apart, and
	// to people with one device and with two.
	Without []float64 `json:"without"`
	One     []float64 `json:"one"`
	Two     []float64 `json:"two"`
	// Alone and Beside are times until a device had a message: that of a user without others, and beside dead ones.
	Alone  load.Times `json:"alone_ns"`
	Beside load.Times `json:"beside_ns"`
	// Back is how long it took until a device had what it has missed.
	Back time.Duration `json:"back_ns"`
	// OneRegistration and TwoRegistrations are those of people with one device and with two, in each round.
	OneRegistration  []Registrations `json:"one_registration"`
	TwoRegistrations []Registrations `json:"two_registrations"`
	Lost             int64           `json:"lost"`
	Twice            int64           `json:"twice"` // at the device that was there, and at the one that came back
}

// Registrations are what many registrations cost.
type Registrations struct {
	Count int           `json:"count"`
	Took  time.Duration `json:"took_ns"` // until the last one was answered
	CPU   time.Duration `json:"cpu_ns"`  // of Kamailio, imcd and PostgreSQL
}

const (
	// quiet is how long no copy may come before deliveries count as lost, and how long imcd may take to know devices.
	quiet = 40 * time.Second
	// ahead is how many messages of a room may be on their way.
	ahead = 5
)

// bench is an imcd that is measured, with one that does not tell devices apart beside it.
type bench struct {
	*rig.Rig
	without *rig.Rig
	o       Options
	res     *Result
}

// Run measures an imcd beside one whose devices_per_user is 0. Both rigs must have the rooms of o.Sizes.
func Run(ctx context.Context, r, without *rig.Rig, o Options) (*Result, error) {
	b := &bench{Rig: r, without: without, o: o, res: &Result{Kind: "devices", Contestant: r.Spec.Name, Options: o}}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{{"a device comes back", b.back}, {"deliveries", b.deliveries}, {"registrations", b.registrations},
		{"dead devices", b.dead}} {
		r.Progress("%s", step.name)
		if err := step.do(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return b.res, r.Keep(b.res)
}

// with is a room with n devices of each of its people in place of one.
func with(room load.Room, n int) load.Room {
	room.Members *= n
	return room
}

// registered registers further devices of the people of a room, so that each has n, and waits until imcd knows them.
func (b *bench) registered(ctx context.Context, room load.Room, n int) error {
	for i := range n {
		if err := b.Load().RegisterDevice(ctx, b.Addr(), room.Base, room.Members, i*room.Members); err != nil {
			return err
		}
	}
	return b.known(ctx, room, n)
}

// known waits until imcd knows that the people of a room have n registered devices each.
func (b *bench) known(ctx context.Context, room load.Room, n int) error {
	ctx, cancel := context.WithTimeout(ctx, quiet)
	defer cancel()
	for i := range room.Members {
		for registered := -1; registered != n; {
			if registered >= 0 {
				if err := stack.Pause(ctx, 20*time.Millisecond); err != nil {
					return fmt.Errorf("%s has %d registered devices, not %d: %w", load.Member(room.Base+i), registered, n, err)
				}
			}
			var list []struct{ Registered bool }
			user := []string{"sip:" + load.Member(room.Base+i) + "@" + load.Domain}
			if err := b.Stack().Call(ctx, "imc.devices", user, &list); err != nil {
				return fmt.Errorf("devices of %s: %w", user, err)
			}
			registered = len(slices.DeleteFunc(list, func(d struct{ Registered bool }) bool { return !d.Registered }))
		}
	}
	return nil
}

// back lets a tablet miss messages that its user's phone reads, and come back.
func (b *bench) back(ctx context.Context) error {
	room := b.Rooms(1, 1)[0]
	if err := b.registered(ctx, room, 2); err != nil {
		return err
	}
	tablet := func(do func(ctx context.Context, addr string, first, n, more int) error) error {
		return do(ctx, b.Addr(), room.Base, 1, 1)
	}
	if err := tablet(b.Load().UnregisterDevice); err != nil {
		return err
	}
	if err := b.known(ctx, room, 1); err != nil {
		return err
	}
	n := b.o.Messages
	got, err := b.Send(ctx, load.Plan{Rooms: []load.Room{with(room, 2)}, For: time.Hour, Rate: 500, Most: n, Quiet: quiet,
		Then: func(context.Context) error { return tablet(b.Load().RegisterDevice) }})
	if err != nil {
		return err
	}
	if got.Accepted != n {
		return fmt.Errorf("%d of %d messages were accepted", got.Accepted, n)
	}
	b.res.Back, b.res.Twice = got.AfterThen, got.Duplicates
	b.res.Lost += got.Lost
	return b.Idle(ctx)
}

// dead sends messages to a user with one device, and to one who has others that never answer.
func (b *bench) dead(ctx context.Context) error {
	rooms := b.Rooms(1, 3)[1:]
	for i, n := range []int{1, 1 + b.o.Dead} {
		if err := b.registered(ctx, rooms[i], n); err != nil {
			return err
		}
	}
	b.Load().Sink.Set(load.Phones{Silent: []load.Silent{{First: rooms[1].Base + 1, Count: b.o.Dead, Every: 1}}})
	for _, trial := range []struct {
		room  load.Room
		times *load.Times
	}{{rooms[0], &b.res.Alone}, {with(rooms[1], 1+b.o.Dead), &b.res.Beside}} {
		got, err := b.Send(ctx, load.Plan{Rooms: []load.Room{trial.room}, For: time.Hour,
			Rate: float64(time.Second) / float64(b.o.Every), Most: b.o.Paced, Quiet: quiet})
		if err != nil {
			return err
		}
		*trial.times = got.Complete
		b.res.Lost += got.Lost
	}
	b.Load().Sink.Set(load.Phones{})
	return nil
}

// deliveries compares people with two devices, with one, and with one that imcd does not know. The second round is in
// the opposite order.
func (b *bench) deliveries(ctx context.Context) error {
	rooms := b.Rooms(b.o.Members, 2*b.o.Rooms)
	var doubled []load.Room
	for _, room := range rooms[b.o.Rooms:] {
		if err := b.registered(ctx, room, 2); err != nil {
			return err
		}
		doubled = append(doubled, with(room, 2))
	}
	trials := []trial{{b.without, b.without.Rooms(b.o.Members, b.o.Rooms), &b.res.Without},
		{b.Rig, rooms[:b.o.Rooms], &b.res.One}, {b.Rig, doubled, &b.res.Two}}
	for round := range b.o.Rounds {
		for i := range trials {
			if round%2 == 1 {
				i = len(trials) - 1 - i
			}
			if err := b.deliver(ctx, trials[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// trial is one measurement of deliveries.
type trial struct {
	rig   *rig.Rig
	rooms []load.Room
	rates *[]float64
}

func (b *bench) deliver(ctx context.Context, t trial) error {
	got, err := t.rig.Send(ctx, load.Plan{Rooms: t.rooms, For: b.o.For, Window: ahead, Quiet: quiet})
	if err != nil {
		return err
	}
	*t.rates = append(*t.rates, got.PerSecond())
	b.res.Lost += got.Lost
	return t.rig.Idle(ctx)
}

// registrations restarts Kamailio, and lets people register again. Those with two devices are not known before those
// with one are measured: imcd asks Kamailio for them after a restart.
func (b *bench) registrations(ctx context.Context) error {
	rooms := b.Rooms(b.o.People, 2)
	for range b.o.Rounds {
		if err := b.register(ctx, rooms[0], 1, &b.res.OneRegistration); err != nil {
			return err
		}
	}
	if err := b.registered(ctx, rooms[1], 2); err != nil {
		return err
	}
	for range b.o.Rounds {
		if err := b.register(ctx, rooms[1], 2, &b.res.TwoRegistrations); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) register(ctx context.Context, room load.Room, devices int, all *[]Registrations) error {
	if err := b.Stack().Kamailio().Restart(ctx); err != nil {
		return err
	}
	if err := b.Stack().Ready(ctx); err != nil {
		return err
	}
	before, err := b.CPU()
	if err != nil {
		return err
	}
	began := time.Now()
	for i := range devices {
		if err := b.Load().RegisterDevice(ctx, b.Addr(), room.Base, room.Members, i*room.Members); err != nil {
			return err
		}
	}
	took := time.Since(began)
	if err := stack.Pause(ctx, b.o.Rest); err != nil {
		return err
	}
	after, err := b.CPU()
	*all = append(*all, Registrations{Count: devices * room.Members, Took: took, CPU: after - before})
	return err
}
