package htable

import (
	"iter"

	"imcd/engine"
	"imcd/evapi"
)

// frames divides rooms into what goes into one frame each. What has changed meanwhile is left out: Kamailio has it from
// an event, and the list is older.
func (k *Keeper) frames(rooms []engine.RoomUsers) iter.Seq[[]evapi.TabledRoom] {
	return func(yield func([]evapi.TabledRoom) bool) {
		f := frame{}
		for i := range rooms {
			r := &rooms[i]
			if _, changed := k.changed[r.Room]; changed {
				continue
			}
			if f.full() && !f.flush(yield) {
				return
			}
			f.begin(r)
			for _, user := range r.Users {
				if _, changed := k.changed[r.Room]; changed {
					break // it has ended
				}
				if f.full() {
					if !f.flush(yield) {
						return
					}
					if _, changed := k.changed[r.Room]; changed {
						break
					}
					f.begin(r)
				}
				if _, changed := k.changed[r.Room+" "+user]; !changed {
					f.add(user)
				}
			}
		}
		f.flush(yield)
	}
}

// frame is one in the making.
type frame struct {
	rooms []evapi.TabledRoom
	names int
	bytes int
}

func (f *frame) full() bool { return f.names >= evapi.MaxTabled || f.bytes >= maxBytes }

// flush hands the frame on, and begins another.
func (f *frame) flush(yield func([]evapi.TabledRoom) bool) bool {
	if len(f.rooms) == 0 {
		return true
	}
	rooms := f.rooms
	*f = frame{}
	return yield(rooms)
}

func (f *frame) begin(r *engine.RoomUsers) {
	next := evapi.TabledRoom{Room: r.Room, ID: shortID(r.ID)}
	f.rooms = append(f.rooms, next)
	f.names++
	f.bytes += sizeOf(next)
}

func (f *frame) add(user string) {
	last := &f.rooms[len(f.rooms)-1]
	last.Users = append(last.Users, user)
	f.names++
	f.bytes += len(user) + 1
}
