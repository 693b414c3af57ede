package engine

import (
	"cmp"
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
	addOwing(r.owing, deviceID{v.row.User.Key(), v.row.Device}, &owedDevice{user: v.row.User, device: v, at: at,
		then: []func(){then}})
	r.mu.Unlock()
	r.signal()
}

// oweAbsent does the same for devices of a user that cannot have got a message that another one has taken, see
// absence.owed. They may have gone after it was accepted. False: too many users wait for that already.
func (r *reports) oweAbsent(user store.Name, a absence, then func()) bool {
	id := deviceID{user.Key(), allDevices}
	r.mu.Lock()
	if r.owing[id] == nil && len(r.owing) >= maxReports {
		r.mu.Unlock()
		r.dropped.Inc()
		return false
	}
	addOwing(r.owing, id, &owedDevice{user: user, at: a.at, absence: a, then: []func(){then}})
	r.mu.Unlock()
	select {
	case r.hurry <- struct{}{}:
	default:
	}
	r.signal()
	return true
}

// addOwing adds to all what a device is owed.
func addOwing(all map[deviceID]*owedDevice, id deviceID, o *owedDevice) {
	if have := all[id]; have != nil {
		o.at, o.then = earlier(have.at, o.at), append(have.then, o.then...)
		o.absence = absence{at: o.at, tried: earlier(have.absence.tried, o.absence.tried),
			arrived: earlier(have.absence.arrived, o.absence.arrived)}
	}
	all[id] = o
}

// putBackOwing returns what was not written.
func (r *reports) putBackOwing(all map[deviceID]*owedDevice) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, o := range all {
		addOwing(r.owing, id, o)
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
		} else if o.device.owed() { // it may have got that meanwhile
			moves = append(moves, store.GoneMove{User: o.user, Device: id.device, Is: time.UnixMilli(o.at)})
		}
	}
	if len(users) > 0 {
		rows, err := r.store.Devices(ctx, users...)
		if err != nil {
			return err
		}
		for list := range byUser(rows) {
			if o := all[deviceID{list[0].User.Key(), allDevices}]; o != nil {
				moves = append(moves, o.absence.owed(list, time.Now())...)
			}
		}
	}
	if len(moves) == 0 {
		return nil
	}
	return r.store.OweDevices(ctx, earliestOf(moves))
}

// earliestOf are moves, of which several may be of one device, with one of each.
func earliestOf(moves []store.GoneMove) []store.GoneMove {
	slices.SortFunc(moves, func(a, b store.GoneMove) int {
		return cmp.Or(cmp.Compare(a.User.Key(), b.User.Key()), cmp.Compare(a.Device, b.Device), a.Is.Compare(b.Is))
	})
	return slices.CompactFunc(moves, func(a, b store.GoneMove) bool {
		return a.User.Key() == b.User.Key() && a.Device == b.Device
	})
}

// absence is when devices of a user were not there, in ms of Unix time.
type absence struct {
	at      int64 // a message was accepted
	arrived int64 // another device took it
	tried   int64 // the try before that failed at all devices that were there; 0: there was none
}

// owed are the devices that have not got the message, and those after it: they were not registered when it arrived, or
// they failed, and it was not them who took it, as only another one was heard of since.
func (a absence) owed(list []store.DeviceRow, now time.Time) (moves []store.GoneMove) {
	heard := func(d store.DeviceRow) bool { return d.OKAt.UnixMilli() > a.tried }
	other := a.tried > 0 && slices.ContainsFunc(list, heard)
	for i := range list {
		d := &list[i]
		gone, off := d.GoneAt, !d.Expires.After(now) || !d.Expires.After(d.OKAt)
		if gone.IsZero() {
			gone = d.Expires
		} else {
			off = off || d.OKAt.UnixMilli() > a.arrived
		}
		if gone.UnixMilli() > a.at && (off || other && !heard(*d)) {
			moves = append(moves, store.GoneMove{User: d.User, Device: d.Device, Is: time.UnixMilli(a.at)})
		}
	}
	return moves
}
