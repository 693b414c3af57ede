package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"imcd/engine/store"
)

// memberRoom is what a shard knows of the devices of a member.
type memberRoom struct {
	key, uri       string
	place          store.Place
	last, cursor   uint64
	took           uint64            // deliveredTo
	first, stopped map[string]uint64 // by device: lane.firstOpen, lane.stopped
}

// memberRooms lists the rooms of a user that this engine has, by name.
func (e *Engine) memberRooms(ctx context.Context, user string) ([]memberRoom, error) {
	rooms, err := gather(ctx, e, func(s *shard) (list []memberRoom) {
		for _, r := range s.rooms {
			m := r.get(user)
			if m == nil || !m.live || m.invited() {
				continue
			}
			mr := memberRoom{key: r.key, uri: r.name.URI(), place: store.Place{Room: r.id, User: m.name()}, last: r.last,
				cursor: min(m.cursor, r.last), took: min(r.deliveredTo(m), r.last), first: make(map[string]uint64),
				stopped: make(map[string]uint64)}
			for _, n := range s.delivery.lanes[user] {
				if n.member == m {
					name := n.device.row.Device
					mr.first[name] = earliest(mr.first[name], n.firstOpen())
					mr.stopped[name] = earliest(mr.stopped[name], n.stopped)
				}
			}
			list = append(list, mr)
		}
		return list
	})
	slices.SortFunc(rooms, func(a, b memberRoom) int { return strings.Compare(a.uri, b.uri) })
	return rooms, err
}

// deviceRooms says how far a device is in rooms. One that is not registered is owed what was accepted since that ended.
func (e *Engine) deviceRooms(ctx context.Context, r *store.DeviceRow, rooms []memberRoom) ([]DeviceRoom, error) {
	since := r.GoneAt
	if since.IsZero() && !r.Expires.After(time.Now()) {
		since = r.Expires
	}
	var after []uint64
	if !since.IsZero() && len(rooms) > 0 {
		places := make([]store.Place, len(rooms))
		for i := range rooms {
			places[i] = rooms[i].place
		}
		var err error
		if after, err = e.store.Backlogs(ctx, places, since); err != nil {
			return nil, err
		}
	}
	list := make([]DeviceRoom, len(rooms))
	for i := range rooms {
		m := &rooms[i]
		d := DeviceRoom{Room: m.uri, Sequence: m.last, Has: m.took}
		if after != nil {
			upTo := after[i]
			if stopped := m.stopped[r.Device]; stopped > 0 {
				upTo = max(upTo, stopped-1)
			}
			d.Has = min(d.Has, upTo)
			d.Owed = int(max(m.cursor, upTo) - upTo)
		}
		if first := m.first[r.Device]; first > 0 {
			d.Has = min(d.Has, first-1)
		}
		list[i] = d
	}
	return list, nil
}

// UserDevices lists what is known of the devices of a user, the one that was heard of last first, and how far each is
// in a room; if that is empty, in those rooms of this engine where it lacks messages. ErrBadName, ErrNoUser: the user
// is not in that room.
func (e *Engine) UserDevices(ctx context.Context, user, room string) ([]UserDevice, error) {
	name, err := parseName("user", user)
	if err != nil {
		return nil, err
	}
	if err := e.reports.flush(ctx); err != nil {
		return nil, err
	}
	rows, err := e.store.Devices(ctx, name)
	if err != nil {
		return nil, err
	}
	rooms, err := e.memberRooms(ctx, name.Key())
	if err != nil {
		return nil, err
	}
	if room != "" {
		if rooms, err = onlyRoom(rooms, room); err != nil {
			return nil, err
		}
	}
	now, list := time.Now(), []UserDevice{}
	for i := range rows {
		in, err := e.deviceRooms(ctx, &rows[i], rooms)
		if err != nil {
			return nil, err
		}
		if room == "" {
			in = slices.DeleteFunc(in, func(d DeviceRoom) bool { return d.Has >= d.Sequence })
		}
		list = append(list, shownDevice(&rows[i], in, now))
	}
	return list, nil
}

func onlyRoom(rooms []memberRoom, uri string) ([]memberRoom, error) {
	name, err := parseName("room", uri)
	if err != nil {
		return nil, err
	}
	for i := range rooms {
		if rooms[i].key == name.Key() {
			return rooms[i : i+1], nil
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrNoUser, name.URI())
}

// JoinDevices makes one list of what several imcd of a fleet say of the devices of a user: each of its own rooms.
func JoinDevices(parts ...[]UserDevice) []UserDevice {
	all := []UserDevice{}
	for _, d := range slices.Concat(parts...) {
		i := slices.IndexFunc(all, func(o UserDevice) bool { return o.Device == d.Device })
		if i < 0 {
			all = append(all, d)
			continue
		}
		have := &all[i]
		state := strings.TrimSuffix(have.State, owedText(have.Owed))
		have.Owed += d.Owed
		have.State = state + owedText(have.Owed)
		have.Rooms = append(have.Rooms, d.Rooms...)
		slices.SortStableFunc(have.Rooms, func(a, b DeviceRoom) int { return strings.Compare(a.Room, b.Room) })
	}
	return all
}
