package engine

import (
	"context"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"imcd/engine/store"
	"imcd/evapi"
)

// A user with several known devices may have another one that imcd does not know: it registered while imcd was down, or
// had too much to read. It would get nothing, as each known device gets a copy of its own. So the location tables are
// asked for the contacts of a user who has several devices for the first time, and for those of all such users after a
// welcome, and when Kamailio says that it has not reported registrations. And of a user who has become a member: who
// was in no room had no stored devices (store.Store.PutDevices).

const (
	// maxWanted bounds the users who wait to be asked for. If there are more, all are.
	maxWanted = 16384
	// wantedPause is the time from one question to the next. Kamailio gets few at a time.
	wantedPause = 10 * time.Millisecond
	// wantedAgain is the time from a question about all users to the next, and to the next try after a failure.
	wantedAgain = 5 * time.Second
	// foundBefore is how much earlier a device that is found may have registered: the location table counts in seconds.
	foundBefore = time.Second
)

func newLocator(devices *userDevices, log zerolog.Logger) *locator {
	return &locator{devices: devices, log: log, wake: make(chan struct{}, 1), waiting: make(map[string]evapi.Wanted)}
}

// AskContacts lets ask have the users whose contacts are wanted, at most evapi.MaxWanted at a time; the answers come to
// Found. After an error it is called again. It is called before Start; ask must not block.
func (e *Engine) AskContacts(ask func([]evapi.Wanted) error) { e.locator.send = ask }

// ask takes a user who has several devices from a time on. Before that, one copy was for all.
func (l *locator) ask(user store.Name, at time.Time) {
	l.mu.Lock()
	if len(l.waiting) < maxWanted {
		l.waiting[user.Key()] = evapi.Wanted{User: user.URI(), From: at.UnixMilli()}
	} else {
		l.all = true
	}
	l.mu.Unlock()
	l.signal()
}

// joins takes a user who has become a member.
func (l *locator) joins(user store.Name, at time.Time) {
	if l.devices.of(user.Key()) == nil {
		l.ask(user, at)
	}
}

// askAll takes all users with several devices.
func (l *locator) askAll() {
	l.mu.Lock()
	l.all = true
	l.mu.Unlock()
	l.signal()
}

func (l *locator) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run asks until ctx ends.
func (l *locator) run(ctx context.Context) {
	var later <-chan time.Time // until then, nobody asks for all
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		case <-later:
			later = nil
		}
		users, all := l.take(later == nil)
		pause := wantedPause
		for len(users) > 0 {
			part := users[:min(len(users), evapi.MaxWanted)]
			if err := l.put(part); err != nil {
				l.log.Debug().Err(err).Msg("contacts of users are not asked for")
				pause = wantedAgain
				l.putBack(users)
				break
			}
			users = users[len(part):]
			if !evapi.Sleep(ctx, wantedPause) {
				return
			}
		}
		if all {
			later = time.After(wantedAgain)
		}
		if !evapi.Sleep(ctx, pause) {
			return
		}
	}
}

func (l *locator) put(users []evapi.Wanted) error {
	if l.send == nil {
		return nil
	}
	return l.send(users)
}

// putBack takes users again who were not asked for.
func (l *locator) putBack(users []evapi.Wanted) {
	for _, w := range users {
		if name, err := ParseName(w.User, ""); err == nil && w.From > 0 {
			l.ask(name, time.UnixMilli(w.From))
		}
	}
	l.askAll()
}

// take removes the users that wait. Those for whom a time is known come with that. mayAll: all may be asked for.
func (l *locator) take(mayAll bool) (users []evapi.Wanted, all bool) {
	l.mu.Lock()
	waiting := l.waiting
	l.waiting = make(map[string]evapi.Wanted)
	if all = l.all && mayAll; all {
		l.all = false
	}
	l.mu.Unlock()
	if all && l.devices.some.Load() > 0 {
		l.devices.byUser.Range(func(key, list any) bool {
			if _, waits := waiting[key.(string)]; !waits {
				users = append(users, evapi.Wanted{User: list.([]*device)[0].row.User.URI()})
			}
			return true
		})
	}
	for _, w := range waiting {
		users = append(users, w)
	}
	return users, all
}

// Unheard says that a Kamailio has not reported registrations. It never blocks.
func (e *Engine) Unheard() { e.locator.askAll() }

// Found takes what a location table has for a user. Devices that are not known are owed what was accepted since they
// registered, and since each device gets copies of its own. It never blocks.
func (e *Engine) Found(r evapi.Registration) {
	name, err := ParseName(r.AOR, "")
	if err != nil || e.reports.most == 0 {
		return
	}
	now := time.Now()
	latest := make(map[string]store.DeviceRow)
	one := r.From > 0 && e.devices.of(name.Key()) == nil // copy is for all devices so far (locator.joins)
	for i := range r.Devices {
		d := &r.Devices[i]
		row := deviceRow(name, &r, d, now)
		row.Agent, row.Source = deviceText(d.Agent), deviceText(d.Source)
		row.OKAt, row.Found = now.Add(-d.Since), true
		if !one {
			row.GoneAt = row.OKAt
			if from := time.UnixMilli(r.From); from.After(row.GoneAt) {
				row.GoneAt = from
			}
			row.GoneAt = row.GoneAt.Add(-foundBefore)
		}
		if have, several := latest[row.Device]; !several || have.OKAt.Before(row.OKAt) {
			latest[row.Device] = row
		}
	}
	e.foundNatives(name, r.Devices)
	for _, row := range latest {
		if row.GRUU != "" && row.Expires.After(now) && !e.devices.knows(name.Key(), &row) {
			e.reports.addIfNew(row)
		}
	}
}

// knows reports whether a device is present by a contact that is not older.
func (u *userDevices) knows(userKey string, r *store.DeviceRow) bool {
	if slices.ContainsFunc(u.of(userKey), func(v *device) bool { return v.row.GRUU == r.GRUU }) {
		return true // perhaps under another name (mergeRenamed)
	}
	v := u.find(userKey, r.Device)
	return v != nil && !r.OKAt.After(v.row.OKAt.Add(foundBefore))
}

// dropKnown leaves out what was found and is stored as registered, by a contact that is not older: such a device may be
// the only one of its user by now.
func (r *reports) dropKnown(ctx context.Context, rows []store.DeviceRow) ([]store.DeviceRow, error) {
	stored, found, err := r.storedOf(ctx, rows, func(d *store.DeviceRow) bool { return d.Found })
	if err != nil || !found {
		return rows, err
	}
	now := time.Now()
	return slices.DeleteFunc(rows, func(d store.DeviceRow) bool {
		return d.Found && slices.ContainsFunc(stored, func(s store.DeviceRow) bool {
			return s.User.Key() == d.User.Key() && s.Expires.After(now) && s.Expires.After(s.OKAt) &&
				(s.GRUU == d.GRUU || s.Device == d.Device && !d.OKAt.After(s.OKAt.Add(foundBefore)))
		})
	}), nil
}

// addIfNew takes a report, unless there is one of the device already.
func (r *reports) addIfNew(row store.DeviceRow) {
	r.mu.Lock()
	_, waits := r.waiting[deviceID{row.User.Key(), row.Device}]
	r.mu.Unlock()
	if !waits {
		r.add(row)
	}
}
