package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"imcd/engine/store"
	"imcd/evapi"
)

const (
	// reportsBatch is how many are written in one transaction.
	reportsBatch = 500
	// reportsLinger is how long the first one waits for others.
	reportsLinger = 100 * time.Millisecond
	// reportsRetry is how long they wait after a failure, and twice as long after the next …
	reportsRetry = time.Second
	// … up to this time.
	reportsRetryMax = time.Minute
)

// allDevices is the device of a report about all devices of a user.
const allDevices = "*"

func newReports(s store.Store, cfg Config, log zerolog.Logger, dropped prometheus.Counter) *reports {
	return &reports{store: s, log: log, most: cfg.DevicesPerUser, dropped: dropped, wake: make(chan struct{}, 1),
		hurry: make(chan struct{}, 1), soon: cfg.CursorFlush / 2, writing: make(chan struct{}, 1),
		waiting: make(map[deviceID]store.DeviceRow), owing: make(map[deviceID]*owedDevice),
		heard: make(map[deviceID]DeviceReport)}
}

// Devices takes what a registration says of the devices of its user. It never blocks.
func (e *Engine) Devices(r evapi.Registration) {
	if len(r.Devices) == 0 || e.reports.most == 0 {
		return
	}
	e.noteNative(&r)
	name, err := ParseName(r.AOR, "")
	if err != nil {
		return
	}
	now := time.Now()
	rows := make([]store.DeviceRow, len(r.Devices))
	for i := range r.Devices {
		if rows[i] = deviceRow(name, &r, &r.Devices[i], now); r.Devices[i].Left == 0 {
			e.devices.departures.add(name.Key(), now)
		}
	}
	e.reports.add(rows...)
}

func deviceRow(user store.Name, r *evapi.Registration, d *evapi.Device, now time.Time) store.DeviceRow {
	row := store.DeviceRow{User: user, Device: deviceName(d), Contact: deviceText(d.Contact), GRUU: d.GRUU, Was: d.Was,
		CallID: deviceText(d.CallID), Agent: deviceText(r.Agent), Source: deviceText(r.Source),
		Expires: now.Add(d.Left), OKAt: now}
	if r.Conn != nil {
		row.Kamailio = deviceText(r.Conn.Name())
	}
	if d.Left == 0 {
		row.GoneAt = now.Add(-goneBefore)
	}
	return row
}

// deviceName tells devices of a user apart: by the instance, or by those parts of the contact that stay the same.
// Over a connection the port is another one each time.
func deviceName(d *evapi.Device) string {
	if d.Instance != "" {
		return deviceText(d.Instance)
	}
	var uri sip.Uri
	if d.Contact == allDevices || sip.ParseUri(d.Contact, &uri) != nil {
		return deviceText(d.Contact)
	}
	name := uri.User + "@" + strings.ToLower(uri.Host)
	transport, _ := uri.UriParams.Get("transport")
	if transport = strings.ToLower(transport); transport == "" || transport == "udp" {
		name += fmt.Sprint(":", uri.Port)
	}
	return deviceText(name)
}

// add takes reports; those of a device replace earlier ones.
func (r *reports) add(rows ...store.DeviceRow) {
	r.mu.Lock()
	for i := range rows {
		id := deviceID{rows[i].User.Key(), rows[i].Device}
		if _, waits := r.waiting[id]; !waits && len(r.waiting) >= maxReports {
			r.dropped.Inc()
			continue
		}
		r.waiting[id] = rows[i]
	}
	r.mu.Unlock()
	r.signal()
}

func (r *reports) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run writes reports until ctx ends.
func (r *reports) run(ctx context.Context) {
	for wait := reportsLinger; ; {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		if !r.linger(ctx, wait) {
			return
		}
		err := r.flush(ctx)
		if err == nil {
			wait = reportsLinger
			continue
		}
		if wait == reportsLinger && ctx.Err() == nil {
			r.log.Warn().Err(err).Msg("devices are not noted in the database")
		}
		wait = longer(max(wait, reportsRetry/2), reportsRetry, reportsRetryMax)
		r.add() // so that they are tried again
	}
}

// linger waits before a flush: for less if a cursor waits for it (oweAbsent). False: ctx has ended.
func (r *reports) linger(ctx context.Context, wait time.Duration) bool {
	hurry := r.hurry
	if wait > reportsLinger {
		hurry = nil
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(wait):
		return true
	case <-hurry:
		return evapi.Sleep(ctx, r.soon)
	}
}

// flush writes all that wait.
func (r *reports) flush(ctx context.Context) error {
	select {
	case r.writing <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("wait for devices to be written: %w", ctx.Err())
	}
	defer func() { <-r.writing }()
	owing := make(map[deviceID]*owedDevice)
	for {
		rows := r.take(owing)
		written, err := r.write(ctx, rows)
		if err == nil && len(rows) < reportsBatch {
			all := owing
			owing = make(map[deviceID]*owedDevice)
			err = r.writeOwing(ctx, all)
		}
		if err == nil {
			err = r.present(ctx, written)
		}
		switch {
		case errors.Is(err, store.ErrInvalid):
			r.log.Error().Err(err).Int("devices", len(rows)).Msg("the database refuses devices: they are left out")
		case err != nil:
			r.putBack(rows)
			r.putBackOwing(owing)
			return err
		}
		if len(rows) == 0 {
			return r.takeHeard(ctx)
		}
	}
}

// take removes some of the reports and returns them; and it moves to owing what devices are owed that were off before
// one of these.
func (r *reports) take(owing map[deviceID]*owedDevice) []store.DeviceRow {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, o := range r.owing {
		addOwing(owing, id, o)
	}
	clear(r.owing)
	rows := make([]store.DeviceRow, 0, min(len(r.waiting), reportsBatch))
	for id, row := range r.waiting {
		if len(rows) == reportsBatch {
			break
		}
		rows = append(rows, row)
		delete(r.waiting, id)
	}
	return rows
}

// putBack returns reports that were not written, unless there are newer ones.
func (r *reports) putBack(rows []store.DeviceRow) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range rows {
		id := deviceID{rows[i].User.Key(), rows[i].Device}
		if _, newer := r.waiting[id]; !newer {
			r.waiting[id] = rows[i]
		}
	}
}

// write returns the rows as they are in the database.
func (r *reports) write(ctx context.Context, rows []store.DeviceRow) ([]store.DeviceRow, error) {
	ctx, cancel := context.WithTimeout(ctx, reportsTimeout)
	defer cancel()
	all := slices.IndexFunc(rows, func(row store.DeviceRow) bool { return row.Device == allDevices })
	if all >= 0 {
		var err error
		if rows, err = r.resolve(ctx, rows); err != nil {
			return nil, err
		}
	}
	rows, err := r.dropKnown(ctx, rows)
	if err != nil {
		return nil, err
	}
	if rows, err = r.mergeRenamed(ctx, rows); err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows, r.store.PutDevices(ctx, rows, r.most)
}

// resolve replaces reports about all devices of a user by one for each device.
func (r *reports) resolve(ctx context.Context, rows []store.DeviceRow) ([]store.DeviceRow, error) {
	latest := make(map[deviceID]store.DeviceRow)
	keep := func(row store.DeviceRow) {
		id := deviceID{row.User.Key(), row.Device}
		if have, ok := latest[id]; !ok || have.OKAt.Before(row.OKAt) {
			latest[id] = row
		}
	}
	for _, row := range rows {
		if row.Device != allDevices {
			keep(row)
			continue
		}
		devices, err := r.store.Devices(ctx, row.User)
		if err != nil {
			return nil, err
		}
		for _, d := range devices {
			if d.OKAt.Before(row.OKAt) {
				d.User, d.GRUU, d.Expires, d.OKAt, d.GoneAt = row.User, "", row.OKAt, row.OKAt, row.GoneAt
				keep(d)
			}
		}
	}
	rows = rows[:0]
	for _, row := range latest {
		rows = append(rows, row)
	}
	return rows, nil
}

// UserDevice is a device of a user, as imc.devices shows it.
type UserDevice struct {
	Device     string     `json:"device"`     // its +sip.instance, or a part of its contact
	Contact    string     `json:"contact"`    // URI
	Agent      string     `json:"agent"`      // its User-Agent
	Source     string     `json:"source"`     // transport, address and port of its last registration
	Kamailio   string     `json:"kamailio"`   // at which it was
	Registered bool       `json:"registered"` //
	State      string     `json:"state"`      // in words
	Owed       int        `json:"owed"`       // messages that other devices have got, in Rooms, at most
	Expires    *time.Time `json:"expires"`    // when its registration ends or has ended
	LastSeen   *time.Time `json:"last_seen"`  //

	Rooms []DeviceRoom `json:"rooms"` // those in which it lacks messages, or the one that was asked for
}

// DeviceRoom says how far a device is in a room (RPC imc.devices). It has each message up to Has, but for those from
// before it registered for the first time. Messages beyond Has+Owed wait for all devices of the user.
type DeviceRoom struct {
	Room     string `json:"room"`     // SIP URI
	Sequence uint64 `json:"sequence"` // number of the room's last message
	Has      uint64 `json:"has"`      // at least
	Owed     int    `json:"owed"`     // messages that other devices have got, or were written on them, at most
}

func shownDevice(r *store.DeviceRow, in []DeviceRoom, now time.Time) UserDevice {
	d := UserDevice{Device: r.Device, Contact: r.Contact, Agent: r.Agent, Source: r.Source, Kamailio: r.Kamailio,
		Expires: &r.Expires, LastSeen: &r.OKAt, Rooms: in}
	for i := range in {
		d.Owed += in[i].Owed
	}
	switch {
	case r.Expires.After(now):
		d.Registered, d.State = true, "registered until "+localTime(r.Expires, now)
		if !r.GoneAt.IsZero() {
			d.State += ", has not got all messages since " + localTime(r.GoneAt, now)
		}
	case !r.Expires.After(r.OKAt):
		d.State = "unregistered since " + localTime(r.OKAt, now)
	default:
		d.State = "registration ended " + localTime(r.Expires, now)
	}
	d.State += owedText(d.Owed)
	return d
}

// owedText is the part of UserDevice.State about what a device is owed.
func owedText(owed int) string {
	switch {
	case owed == 1:
		return ", owed a message"
	case owed > 1:
		return fmt.Sprintf(", owed %d messages", owed)
	}
	return ""
}
