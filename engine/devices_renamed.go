package engine

import (
	"context"
	"slices"
	"strings"

	"imcd/engine/store"
)

// Some programs have no +sip.instance, and another contact after each start (baresip), or in each network. Such a
// device is the one whose earlier contact has the same Call-ID. Without that it is taken for the one of its user that
// was heard of last among those that are not registered, or do not answer, if that was the same program at the same
// address: else it would get nothing of what came while it was off.

// derivedName reports whether a name is made of a contact (deviceName).
func derivedName(device string) bool { return strings.Contains(device, "@") }

// sourceHost is the transport and the address of store.DeviceRow.Source, without the port.
func sourceHost(source string) string {
	if i := strings.LastIndexByte(source, ':'); i > 0 {
		return source[:i]
	}
	return ""
}

// storedOf are the stored devices of the users of some rows. found is whether there are such rows.
func (r *reports) storedOf(ctx context.Context, rows []store.DeviceRow, of func(*store.DeviceRow) bool) (
	stored []store.DeviceRow, found bool, err error) {
	var users []store.Name
	listed := make(map[string]bool)
	for i := range rows {
		if d := &rows[i]; of(d) && !listed[d.User.Key()] {
			listed[d.User.Key()] = true
			users = append(users, d.User)
		}
	}
	if len(users) == 0 {
		return nil, false, nil
	}
	stored, err = r.store.Devices(ctx, users...)
	return stored, true, err
}

// mergeRenamed gives reports the names under which their devices are stored.
func (r *reports) mergeRenamed(ctx context.Context, rows []store.DeviceRow) ([]store.DeviceRow, error) {
	stored, found, err := r.storedOf(ctx, rows, func(d *store.DeviceRow) bool { return derivedName(d.Device) })
	if err != nil || !found {
		return rows, err
	}
	known := make(map[string][]store.DeviceRow) // by user
	for list := range byUser(stored) {
		known[list[0].User.Key()] = list
	}
	at := make(map[deviceID]int) // in kept
	kept := rows[:0:0]
	keep := func(d store.DeviceRow) {
		id := deviceID{d.User.Key(), d.Device}
		i, several := at[id]
		switch {
		case !several:
			at[id] = len(kept)
			kept = append(kept, d)
		case !d.OKAt.Before(kept[i].OKAt):
			if d.GoneAt.IsZero() {
				d.GoneAt = kept[i].GoneAt
			}
			kept[i] = d
		}
	}
	// Those that have ended come first: another one may take the name.
	for _, registered := range []bool{false, true} {
		for i := range rows {
			d := rows[i]
			if d.Expires.After(d.OKAt) != registered {
				continue
			}
			user := d.User.Key()
			if derivedName(d.Device) {
				d.Device = nameAmong(known[user], &d)
			}
			known[user] = withReport(known[user], d)
			keep(d)
		}
	}
	return kept, nil
}

// nameAmong is the name of a device among those that are stored; its own if it is new.
func nameAmong(known []store.DeviceRow, d *store.DeviceRow) string {
	if i := slices.IndexFunc(known, func(k store.DeviceRow) bool {
		return d.CallID != "" && k.CallID == d.CallID && derivedName(k.Device)
	}); i >= 0 {
		return known[i].Device
	}
	var off, failed *store.DeviceRow
	for i := range known {
		k := &known[i]
		switch {
		case k.Device == d.Device:
			return d.Device
		case !derivedName(k.Device):
		case k.Contact == d.Contact || d.Was != "" && k.GRUU == d.Was:
			return k.Device
		case !d.Expires.After(d.OKAt) || k.Agent != d.Agent || d.Agent == "" ||
			sourceHost(k.Source) != sourceHost(d.Source):
		case !k.Expires.After(d.OKAt):
			off = laterRow(off, k)
		case k.OKAt.Before(k.GoneAt): // it has not registered since it failed
			failed = laterRow(failed, k)
		}
	}
	switch {
	case off != nil:
		return off.Device
	case failed != nil:
		return failed.Device
	}
	return d.Device
}

// laterRow is the row of the device that was heard of last; nil is none.
func laterRow(a, b *store.DeviceRow) *store.DeviceRow {
	if a == nil || a.OKAt.Before(b.OKAt) {
		return b
	}
	return a
}

// withReport is known with a report in it.
func withReport(known []store.DeviceRow, d store.DeviceRow) []store.DeviceRow {
	for i := range known {
		if known[i].Device == d.Device {
			known[i] = d
			return known
		}
	}
	return append(known, d)
}
