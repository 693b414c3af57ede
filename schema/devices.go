package schema

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"imcd/engine/store"
)

const (
	sqlPutDevices = `INSERT INTO imcd_devices
			(username, domain, device, contact, gruu, agent, source, kamailio, expires, ok_at, gone_at, call_id)
		SELECT v.username, v.domain, v.device, v.contact, v.gruu, v.agent, v.source, v.kamailio, v.expires, v.ok_at,
			v.gone_at, v.call_id
		FROM {device_rows} WHERE EXISTS (SELECT 1 FROM {members} m WHERE m.username = v.username AND m.domain = v.domain)
			OR EXISTS (SELECT 1 FROM {members} m WHERE m.username = v.as_name AND m.domain = v.as_domain)
		ON CONFLICT (username, domain, device) DO UPDATE SET contact = excluded.contact, gruu = excluded.gruu,
			agent = excluded.agent, source = excluded.source, kamailio = excluded.kamailio, expires = excluded.expires,
			call_id = excluded.call_id, ok_at = excluded.ok_at,
			gone_at = CASE WHEN imcd_devices.gone_at <> 0 THEN imcd_devices.gone_at
				WHEN imcd_devices.expires < excluded.ok_at THEN imcd_devices.expires ELSE excluded.gone_at END
		WHERE imcd_devices.ok_at <= excluded.ok_at`
	// {most} is a number.
	sqlDropDevices = `DELETE FROM imcd_devices WHERE (username, domain, device) IN (
		SELECT d.username, d.domain, d.device FROM (SELECT username, domain, device,
			row_number() OVER (PARTITION BY username, domain ORDER BY ok_at DESC, device) AS place FROM imcd_devices
			WHERE (username, domain) IN (SELECT v.username, v.domain FROM {device_rows})) d WHERE d.place > {most})`
	sqlDeviceColumns = `username, domain, device, contact, gruu, agent, source, kamailio, expires, ok_at, gone_at, call_id`
	sqlDevices       = `SELECT ` + sqlDeviceColumns + ` FROM imcd_devices
		WHERE (username, domain) IN (SELECT v.username, v.domain FROM {device_rows})
		ORDER BY username, domain, ok_at DESC, device`
	sqlSharedDevices = `SELECT ` + sqlDeviceColumns + ` FROM imcd_devices WHERE expires > $1 AND (username, domain) IN
		(SELECT username, domain FROM imcd_devices WHERE expires > $1 GROUP BY username, domain
			HAVING COUNT(*) > 1 OR MAX(gone_at) > 0) ORDER BY username, domain, ok_at DESC, device LIMIT $2`
	sqlOweDevices = `UPDATE imcd_devices SET gone_at = v.gone_at FROM {device_rows}
		WHERE imcd_devices.username = v.username AND imcd_devices.domain = v.domain AND imcd_devices.device = v.device
			AND (imcd_devices.gone_at = 0 OR imcd_devices.gone_at > v.gone_at)`
	// expires has the new time here. A device that was removed has one that ended when it was heard of last.
	sqlPutGone = `UPDATE imcd_devices SET gone_at = v.expires FROM {device_rows}
		WHERE imcd_devices.username = v.username AND imcd_devices.domain = v.domain AND imcd_devices.device = v.device
			AND imcd_devices.gone_at = v.gone_at AND imcd_devices.expires > imcd_devices.ok_at`

	sqlPutJoins = `INSERT INTO imcd_joins (room_id, username, domain, seq)
		SELECT s.id, v.username, v.domain, s.seq FROM {member_rows} JOIN imcd_rooms s ON s.room = v.room
		WHERE (v.flag & 4) = 0 AND NOT EXISTS (SELECT 1 FROM {members} m WHERE m.username = v.username
			AND m.domain = v.domain AND m.room = v.room AND (COALESCE(m.flag, 0) & 4) = 0)
		ON CONFLICT (room_id, username, domain) DO UPDATE SET seq = excluded.seq`
	sqlDropJoins = `DELETE FROM imcd_joins WHERE (room_id, username, domain) IN
		(SELECT s.id, v.username, v.domain FROM {member_rows} JOIN imcd_rooms s ON s.room = v.room)`
	sqlDropJoinsOfIDs = `DELETE FROM imcd_joins WHERE room_id {of_ids}`
	// seq is a time here.
	sqlBacklogs = `SELECT v.room_id, v.username, v.domain,
		COALESCE((SELECT m.seq FROM imcd_messages m WHERE m.room_id = v.room_id AND m.at < v.seq
			ORDER BY m.seq DESC LIMIT 1), 0),
		COALESCE((SELECT j.seq FROM imcd_joins j WHERE j.room_id = v.room_id AND j.username = v.username
			AND j.domain = v.domain), 0) FROM {cursor_rows}`
	sqlOldDevices = `DELETE FROM imcd_devices WHERE (username, domain, device) IN
		(SELECT username, domain, device FROM imcd_devices WHERE ok_at < $1 ORDER BY ok_at LIMIT $2)`
)

// PutDevices implements store.Store. Rows belong to no shard, and what is older changes nothing, so there
// is no fence.
func (s *Store) PutDevices(ctx context.Context, rows []store.DeviceRow, most int) error {
	list := make([]deviceRow, len(rows))
	for i := range rows {
		r := &rows[i]
		if err := checkDevice(r); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		key := keyName(r.User)
		list[i] = deviceRow{Username: key.User, Domain: key.Host, AsName: r.User.User, AsDomain: r.User.Host,
			Device: r.Device, Contact: r.Contact, GRUU: r.GRUU, Agent: r.Agent, Source: r.Source, Kamailio: r.Kamailio,
			Expires: millis(r.Expires), OKAt: millis(r.OKAt), GoneAt: millis(r.GoneAt), CallID: r.CallID}
	}
	sortDevices(list)
	drop := strings.ReplaceAll(sqlDropDevices, "{most}", fmt.Sprint(most))
	err := s.inTx(ctx, func(tx *sql.Tx) error { return execRows(ctx, s, tx, list, sqlPutDevices, drop) })
	return wrap(ctx, "write devices", err)
}

func checkDevice(r *store.DeviceRow) error {
	for _, text := range []string{r.Device, r.Contact, r.GRUU, r.Agent, r.Source, r.Kamailio, r.CallID} {
		if utf8.RuneCountInString(text) > store.MaxDevice {
			return fmt.Errorf("a text of a device is longer than %d characters", store.MaxDevice)
		}
		if err := checkPlain("text of a device", text); err != nil {
			return err
		}
	}
	return checkName("user", r.User)
}

// Devices implements store.Store.
func (s *Store) Devices(ctx context.Context, users ...store.Name) ([]store.DeviceRow, error) {
	list := make([]deviceRow, len(users))
	for i, u := range users {
		key := keyName(u)
		list[i] = deviceRow{Username: key.User, Domain: key.Host}
	}
	if len(list) == 0 {
		return nil, nil
	}
	args, err := s.dialect.args(list)
	if err != nil {
		return nil, err
	}
	return s.devices(ctx, sqlDevices, args...)
}

// SharedDevices implements store.Store.
func (s *Store) SharedDevices(ctx context.Context, now time.Time, limit int) ([]store.DeviceRow, error) {
	return s.devices(ctx, sqlSharedDevices, now.UnixMilli(), limit)
}

func (s *Store) devices(ctx context.Context, query string, args ...any) (list []store.DeviceRow, err error) {
	err = s.query(ctx, s.db, func(rows *sql.Rows) error {
		var r store.DeviceRow
		var expires, ok, gone int64
		if err := rows.Scan(&r.User.User, &r.User.Host, &r.Device, &r.Contact, &r.GRUU, &r.Agent, &r.Source,
			&r.Kamailio, &expires, &ok, &gone, &r.CallID); err != nil {
			return err
		}
		r.Expires, r.OKAt, r.GoneAt = atMillis(expires), atMillis(ok), atMillis(gone)
		list = append(list, r)
		return nil
	}, query, args...)
	if err != nil {
		return nil, wrap(ctx, "load devices", err)
	}
	return list, nil
}

// OweDevices implements store.Store.
func (s *Store) OweDevices(ctx context.Context, moves []store.GoneMove) error {
	return s.putGone(ctx, moves, sqlOweDevices, func(m *store.GoneMove) deviceRow {
		return deviceRow{GoneAt: millis(m.Is)}
	})
}

// PutGone implements store.Store.
func (s *Store) PutGone(ctx context.Context, moves []store.GoneMove) error {
	return s.putGone(ctx, moves, sqlPutGone, func(m *store.GoneMove) deviceRow {
		return deviceRow{GoneAt: millis(m.Was), Expires: millis(m.Is)}
	})
}

func (s *Store) putGone(ctx context.Context, moves []store.GoneMove, query string,
	row func(*store.GoneMove) deviceRow) error {
	list := make([]deviceRow, len(moves))
	for i := range moves {
		m := &moves[i]
		key := keyName(m.User)
		list[i] = row(m)
		list[i].Username, list[i].Domain, list[i].Device = key.User, key.Host, m.Device
	}
	sortDevices(list)
	err := s.inTx(ctx, func(tx *sql.Tx) error { return execRows(ctx, s, tx, list, query) })
	return wrap(ctx, "write what devices are owed", err)
}

// sortDevices brings rows into one order, so that two imcd cannot deadlock.
func sortDevices(list []deviceRow) {
	slices.SortFunc(list, func(a, b deviceRow) int {
		return cmp.Or(strings.Compare(a.Username, b.Username), strings.Compare(a.Domain, b.Domain),
			strings.Compare(a.Device, b.Device))
	})
}

// Backlogs implements store.Store.
func (s *Store) Backlogs(ctx context.Context, places []store.Place, since time.Time) ([]uint64, error) {
	if len(places) == 0 {
		return nil, nil
	}
	list := make([]cursorRow, len(places))
	for i := range places {
		p := &places[i]
		list[i] = cursorRow{RoomID: p.Room, Username: p.User.User, Domain: p.User.Host, Seq: since.UnixMilli()}
	}
	args, err := s.dialect.args(list)
	if err != nil {
		return nil, err
	}
	after := make(map[store.Place]uint64, len(places))
	err = s.query(ctx, s.db, func(rows *sql.Rows) error {
		var p store.Place
		var before, joined uint64
		err := rows.Scan(&p.Room, &p.User.User, &p.User.Host, &before, &joined)
		after[p] = max(before, joined)
		return err
	}, sqlBacklogs, args...)
	if err != nil {
		return nil, wrap(ctx, "look for what a device is owed", err)
	}
	all := make([]uint64, len(places))
	for i := range places {
		all[i] = after[places[i]]
	}
	return all, nil
}

// atMillis is the inverse of millis.
func atMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// keyName is Name.Key as a name.
func keyName(n store.Name) store.Name {
	key := n.Key()
	i := strings.LastIndexByte(key, '@')
	return store.Name{User: key[:i], Host: key[i+1:]}
}
