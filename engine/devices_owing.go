package engine

import (
	"context"
	"maps"
	"slices"
	"time"

	"imcd/engine/store"
)

// What devices are owed from now on: what another device of their user has got.

// owe notes that a device is owed what was accepted at a time, in ms of Unix time, and later. then is called once that
// is in the database.
func (r *reports) owe(v *device, at int64, then func()) {
	r.mu.Lock()
	r.addOwing(deviceID{v.row.User.Key(), v.row.Device}, &owedDevice{user: v.row.User, at: at, then: []func(){then}})
	r.mu.Unlock()
	r.signal()
}

// oweAbsent does the same for devices of a user that are not registered, and for those that were not heard of since a
// try at a time failed, if another one was; 0: for none of these. They may have gone later: what waited then for the
// user, another device has taken. False: too many users wait for that already.
func (r *reports) oweAbsent(user store.Name, at, tried int64, then func()) bool {
	id := deviceID{user.Key(), allDevices}
	r.mu.Lock()
	if r.owing[id] == nil && len(r.owing) >= maxReports {
		r.mu.Unlock()
		r.dropped.Inc()
		return false
	}
	r.addOwing(id, &owedDevice{user: user, at: at, tried: tried, then: []func(){then}})
	r.mu.Unlock()
	r.signal()
	return true
}

// addOwing is called with mu held.
func (r *reports) addOwing(id deviceID, o *owedDevice) {
	if have := r.owing[id]; have != nil {
		o.at, o.tried = earlier(have.at, o.at), earlier(have.tried, o.tried)
		o.then = append(have.then, o.then...)
	}
	r.owing[id] = o
}

func (r *reports) takeOwing() map[deviceID]*owedDevice {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.owing
	r.owing = make(map[deviceID]*owedDevice)
	return all
}

// putBackOwing returns what was not written.
func (r *reports) putBackOwing(all map[deviceID]*owedDevice) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, o := range all {
		r.addOwing(id, o)
	}
}

// writeOwing writes what devices are owed.
func (r *reports) writeOwing(ctx context.Context, all map[deviceID]*owedDevice) error {
	ids := slices.Collect(maps.Keys(all))
	for len(ids) > 0 {
		part := ids[:min(len(ids), reportsBatch)]
		if err := r.writeSomeOwing(ctx, all, part); err != nil {
			r.putBackOwing(all)
			return err
		}
		for _, id := range part {
			for _, then := range all[id].then {
				then()
			}
			delete(all, id)
		}
		ids = ids[len(part):]
	}
	return nil
}

func (r *reports) writeSomeOwing(ctx context.Context, all map[deviceID]*owedDevice, ids []deviceID) error {
	ctx, cancel := context.WithTimeout(ctx, reportsTimeout)
	defer cancel()
	var moves []store.GoneMove
	var users []store.Name // some of whose devices are not registered
	for _, id := range ids {
		if o := all[id]; id.device == allDevices {
			users = append(users, o.user)
		} else {
			moves = append(moves, store.GoneMove{User: o.user, Device: id.device, Is: time.UnixMilli(o.at)})
		}
	}
	if len(users) > 0 {
		rows, err := r.store.Devices(ctx, users...)
		if err != nil {
			return err
		}
		for list := range byUser(rows) {
			moves = append(moves, all[deviceID{list[0].User.Key(), allDevices}].absent(list, time.Now())...)
		}
	}
	if len(moves) == 0 {
		return nil
	}
	return r.store.OweDevices(ctx, moves)
}

// absent are what the devices of a user are owed, see reports.oweAbsent.
func (o *owedDevice) absent(list []store.DeviceRow, now time.Time) (moves []store.GoneMove) {
	since := func(d store.DeviceRow) bool { return d.OKAt.UnixMilli() > o.tried }
	other := o.tried > 0 && slices.ContainsFunc(list, since)
	for i := range list {
		d := &list[i]
		registered, gone := d.Expires.After(now) && d.Expires.After(d.OKAt), d.GoneAt
		if gone.IsZero() {
			gone = d.Expires
		}
		if gone.UnixMilli() > o.at && (!registered || other && !since(*d)) {
			moves = append(moves, store.GoneMove{User: d.User, Device: d.Device, Is: time.UnixMilli(o.at)})
		}
	}
	return moves
}
