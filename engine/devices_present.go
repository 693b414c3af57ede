package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"imcd/engine/store"
)

// Which devices of a user get messages, and which are owed some, after registrations.

const (
	// maxReports bounds the reports of devices that wait to be written. Above it they are dropped: the next
	// registration of the device says the same.
	maxReports = 16384
	// reportsTimeout is the deadline of a transaction.
	reportsTimeout = 10 * time.Second
)

// present looks at the users of rows, which were just written. A device that is registered again and owed something
// gets it. It is owed what another device of its user may have got, so the only device of a user is owed nothing.
func (r *reports) present(ctx context.Context, rows []store.DeviceRow) error {
	if len(rows) == 0 || r.devices == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, reportsTimeout)
	defer cancel()
	var users []store.Name
	listed := make(map[string]bool)
	reported := make(map[deviceID]bool, len(rows))
	for i := range rows {
		user := rows[i].User.Key()
		if rows[i].Expires.After(rows[i].OKAt) {
			reported[deviceID{user, rows[i].Device}] = true
		}
		if !listed[user] {
			listed[user] = true
			users = append(users, rows[i].User)
		}
	}
	stored, err := r.store.Devices(ctx, users...)
	if err != nil {
		return err
	}
	if r.pass != nil {
		r.passOn(stored, reported)
	}
	var nothing []store.GoneMove
	for list := range byUser(stored) {
		nothing = append(nothing, r.presentUser(list, reported)...)
	}
	if len(nothing) == 0 {
		return nil
	}
	return r.store.PutGone(ctx, nothing)
}

// presentUser takes the devices of a user, and returns those that are not owed anything any more.
func (r *reports) presentUser(list []store.DeviceRow, reported map[deviceID]bool) (nothing []store.GoneMove) {
	user := list[0].User.Key()
	comes := func(d *store.DeviceRow) bool { return reported[deviceID{user, d.Device}] }
	was := r.devices.of(user)
	var alone []comeback
	for i := range list {
		d := &list[i]
		if d.GoneAt.IsZero() || !d.Expires.After(d.OKAt) || !comes(d) {
			continue
		}
		if d.GRUU == "" || !slices.ContainsFunc(list, func(o store.DeviceRow) bool {
			return o.Device != d.Device && o.Expires.After(d.GoneAt)
		}) {
			nothing = append(nothing, store.GoneMove{User: d.User, Device: d.Device, Was: d.GoneAt})
			d.GoneAt = time.Time{}
			continue
		}
		alone = append(alone, comeback{row: *d, via: r.devices.kamailioOf(d.Kamailio).conn.Load(), until: d.OKAt})
	}
	now := time.Now()
	back := r.devices.put(user, list, now, comes)
	is := r.devices.of(user)
	if was == nil && is != nil {
		r.several(list[0].User, now)
	}
	for _, v := range back {
		b := comeback{row: v.row, via: v.kamailio.conn.Load(), device: v}
		if was == nil { // one copy was for all devices, also after this registration
			i := slices.IndexFunc(list, func(d store.DeviceRow) bool { return d.Device == v.row.Device })
			b.until = list[i].OKAt
		}
		r.back(b)
	}
	if is == nil {
		for _, b := range alone {
			r.back(b)
		}
	}
	for _, v := range was {
		if now := r.devices.find(user, v.row.Device); now != nil && now != v {
			r.replaced(v)
		}
	}
	return nothing
}

// PassDevices lets pass have what other imcd of a fleet must know. It is called before Start; pass must not block.
func (e *Engine) PassDevices(pass func([]DeviceReport)) { e.reports.pass = pass }

// HearDevices takes what another imcd has passed on. It never blocks.
func (e *Engine) HearDevices(list []DeviceReport) {
	r := e.reports
	if r.most == 0 {
		return
	}
	r.mu.Lock()
	for _, d := range list {
		name, err := ParseName(d.User, "")
		if err != nil {
			continue
		}
		if d.Device == "" {
			e.devices.departures.add(name.Key(), time.Now())
		}
		id := deviceID{name.Key(), d.Device}
		if _, waits := r.heard[id]; !waits && len(r.heard) >= maxReports {
			r.dropped.Inc()
			continue
		}
		r.heard[id] = d
	}
	r.mu.Unlock()
	r.signal()
}

// passOn lets other imcd know which devices have registered, or have ended that.
func (r *reports) passOn(stored []store.DeviceRow, reported map[deviceID]bool) {
	var list []DeviceReport
	for devices := range byUser(stored) {
		n := len(list)
		user := devices[0].User.Key()
		for i := range devices {
			if d := &devices[i]; reported[deviceID{user, d.Device}] {
				list = append(list, DeviceReport{User: d.User.URI(), Device: d.Device, Gone: millisOf(d.GoneAt)})
			}
		}
		if len(list) == n {
			list = append(list, DeviceReport{User: devices[0].User.URI()})
		}
	}
	if len(list) > 0 {
		r.pass(list)
	}
}

// takeHeard looks at the users whose devices have registered at another imcd.
func (r *reports) takeHeard(ctx context.Context) error {
	r.mu.Lock()
	heard := r.heard
	r.heard = make(map[deviceID]DeviceReport)
	r.mu.Unlock()
	if len(heard) == 0 || r.devices == nil {
		return nil
	}
	var users []store.Name
	reported := make(map[deviceID]bool, len(heard))
	for id, d := range heard {
		if name, err := ParseName(d.User, ""); err == nil {
			users = append(users, name)
			reported[id] = true
		}
	}
	ctx, cancel := context.WithTimeout(ctx, reportsTimeout)
	defer cancel()
	stored, err := r.store.Devices(ctx, users...)
	if err != nil {
		r.mu.Lock()
		for id, d := range heard {
			if _, newer := r.heard[id]; !newer {
				r.heard[id] = d
			}
		}
		r.mu.Unlock()
		return err
	}
	for list := range byUser(stored) {
		for i := range list {
			d := &list[i]
			if gone := heard[deviceID{d.User.Key(), d.Device}].Gone; gone != 0 {
				d.GoneAt = time.UnixMilli(gone) // the other one may have brought what it is owed in its rooms
			}
		}
		r.presentUser(list, reported) // what is owed to nobody is the other one's concern
	}
	return nil
}

// loadWithDevices loads rooms, after the devices of users, and lets devices have what they are owed.
func (e *Engine) loadWithDevices(ctx context.Context, part store.Part) error {
	back, err := e.loadDevices(ctx)
	if err == nil {
		err = e.load(ctx, part)
	}
	for i := range back {
		if err != nil {
			e.givesUp(&back[i])
		} else {
			e.comebacks.add(back[i])
		}
	}
	return err
}

// loadDevices takes the devices of users as the database has them. It returns those that are owed something.
func (e *Engine) loadDevices(ctx context.Context) (back []comeback, err error) {
	if e.reports.most == 0 {
		return nil, nil
	}
	now := time.Now()
	rows, err := e.store.SharedDevices(ctx, now, maxComebacks)
	if err != nil {
		return nil, fmt.Errorf("loading devices: %w", err)
	}
	owed := func(d *store.DeviceRow) bool { return !d.GoneAt.IsZero() }
	for list := range byUser(rows) {
		e.locator.askAll()
		for _, v := range e.devices.put(list[0].User.Key(), list, now, owed) {
			back = append(back, v.comeback())
		}
	}
	return back, nil
}

// replaced ends the copies to a device that has registered with another contact.
func (e *Engine) replaced(v *device) {
	for _, s := range e.shards {
		s.inbox.post(func() { s.delivery.replaced(v) })
	}
}
