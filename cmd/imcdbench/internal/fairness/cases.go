package fairness

import (
	"context"
	"fmt"
	"time"

	"imcd/cmd/imcdbench/internal/load"
)

// situation is the traffic beside the small room. The zero value is none.
type situation struct {
	name   string
	barred bool // its p99 has a bar
	// before, if it is not nil, does what is to be over when the case begins.
	before func(ctx context.Context, b *bench) error
	// others, if it is not nil, adds what is said to other rooms, and says which of
	// the phones are silent.
	others func(b *bench, plan *load.Plan, phones *load.Phones)
	// asks, if it is not nil, are commands that are sent as fast as they are answered.
	asks func(b *bench) load.Asks
}

const (
	// said is how many messages a room gets.
	said = 3
	// roomsEvery is the time between two messages to rooms of one silent member: to
	// say all at once would be a measurement of that.
	roomsEvery = 2 * time.Millisecond
	// askWindow is how many commands of one member wait for their answer at a time.
	askWindow = 4
)

// cases are those there are, in the order in which they are measured.
func cases(o Options) []situation {
	list := []situation{
		{name: fmt.Sprintf("always: a room of %d that never stops", o.Big), others: inBig(0, o.Silent)},
		{name: fmt.Sprintf("heard: %d messages to a room of %d, all answer", said, o.Big), others: inBig(said, 0)},
	}
	if o.Silent > 0 {
		list = append(list, situation{name: fmt.Sprintf("said: %d messages to a room of %d, one of %d silent", said,
			o.Big,
			o.Silent), barred: true, others: inBig(said, o.Silent)})
	}
	if o.Rooms > 0 {
		list = append(list,
			situation{name: fmt.Sprintf("each: a message to each of %d rooms of one member, all answer", o.Rooms),
				others: inRooms(0)},
			situation{name: fmt.Sprintf("rooms: a message to each of %d rooms of one silent member", o.Rooms),
				barred: true, others: inRooms(1)})
	}
	return append(list, situation{name: "history: a member that asks for #history as fast as it can", barred: true,
		before: fillBig, asks: history})
}

// inBig says something in the big room, at most so many messages; 0: without an end.
func inBig(most, silent int) func(b *bench, plan *load.Plan, phones *load.Phones) {
	return func(b *bench, plan *load.Plan, phones *load.Phones) {
		big := b.Rooms(b.o.Big, 1)[0]
		plan.Rooms = append(plan.Rooms[:1:1], big)
		plan.Paces = append(plan.Paces, load.Pace{Most: most})
		phones.Silent = []load.Silent{{First: big.Base, Count: big.Members, Every: silent}}
	}
}

// inRooms says one thing in each of the rooms of one member, each silent-th of whom never
// answers.
func inRooms(silent int) func(b *bench, plan *load.Plan, phones *load.Phones) {
	return func(b *bench, plan *load.Plan, phones *load.Phones) {
		rooms := b.Rooms(1, b.o.Rooms)
		plan.Rooms = append(plan.Rooms[:1:1], rooms...)
		for i := range rooms {
			plan.Paces = append(plan.Paces, load.Pace{After: time.Duration(i) * roomsEvery, Most: 1})
		}
		phones.Silent = []load.Silent{{First: rooms[0].Base, Count: len(rooms), Every: silent}}
	}
}

// fillBig says something in the big room: else it has no history.
func fillBig(ctx context.Context, b *bench) error {
	_, err := b.Deliver(ctx, said, load.Plan{Rooms: b.Rooms(b.o.Big, 1), For: time.Minute, Quiet: quiet})
	return err
}

// history is asked for by the first member of the big room.
func history(b *bench) load.Asks {
	big := b.Rooms(b.o.Big, 1)[0]
	return load.Asks{Addr: b.Addr(), Window: askWindow, Next: func(int) (from, room, text string) {
		return load.Member(big.Base), big.Name, "#history"
	}}
}
