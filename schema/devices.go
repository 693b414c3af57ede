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
			(username, domain, device, contact, gruu, agent, source, kamailio, expires, ok_at, gone_at)
		SELECT v.username, v.domain, v.device, v.contact, v.gruu, v.agent, v.source, v.kamailio, v.expires, v.ok_at, v.gone_at
		FROM {device_rows} WHERE EXISTS (SELECT 1 FROM {members} m WHERE m.username = v.username AND m.domain = v.domain)
			OR EXISTS (SELECT 1 FROM {members} m WHERE m.username = v.as_name AND m.domain = v.as_domain)
		ON CONFLICT (username, domain, device) DO UPDATE SET contact = excluded.contact, gruu = excluded.gruu,
			agent = excluded.agent, source = excluded.source, kamailio = excluded.kamailio, expires = excluded.expires,
			ok_at = excluded.ok_at,
			gone_at = excluded.gone_at
		WHERE imcd_devices.ok_at <= excluded.ok_at`
	// {most} is a number.
	sqlDropDevices = `DELETE FROM imcd_devices WHERE (username, domain, device) IN (
		SELECT d.username, d.domain, d.device FROM (SELECT username, domain, device,
			row_number() OVER (PARTITION BY username, domain ORDER BY ok_at DESC, device) AS place FROM imcd_devices
			WHERE (username, domain) IN (SELECT v.username, v.domain FROM {device_rows})) d WHERE d.place > {most})`
	sqlDevices = `SELECT username, domain, device, contact, gruu, agent, source, kamailio, expires, ok_at, gone_at
		FROM imcd_devices
		WHERE username = $1 AND domain = $2 ORDER BY ok_at DESC, device`
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
			Expires: millis(r.Expires), OKAt: millis(r.OKAt), GoneAt: millis(r.GoneAt)}
	}
	// In one order, so that two imcd cannot deadlock.
	slices.SortFunc(list, func(a, b deviceRow) int {
		return cmp.Or(strings.Compare(a.Username, b.Username), strings.Compare(a.Domain, b.Domain),
			strings.Compare(a.Device, b.Device))
	})
	drop := strings.ReplaceAll(sqlDropDevices, "{most}", fmt.Sprint(most))
	err := s.inTx(ctx, func(tx *sql.Tx) error { return execRows(ctx, s, tx, list, sqlPutDevices, drop) })
	return wrap(ctx, "write devices", err)
}

func checkDevice(r *store.DeviceRow) error {
	for _, text := range []string{r.Device, r.Contact, r.GRUU, r.Agent, r.Source, r.Kamailio} {
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
func (s *Store) Devices(ctx context.Context, user store.Name) ([]store.DeviceRow, error) {
	var list []store.DeviceRow
	key := keyName(user)
	err := s.query(ctx, s.db, func(rows *sql.Rows) error {
		var r store.DeviceRow
		var expires, ok, gone int64
		if err := rows.Scan(&r.User.User, &r.User.Host, &r.Device, &r.Contact, &r.GRUU, &r.Agent, &r.Source,
			&r.Kamailio, &expires, &ok, &gone); err != nil {
			return err
		}
		r.Expires, r.OKAt, r.GoneAt = atMillis(expires), atMillis(ok), atMillis(gone)
		list = append(list, r)
		return nil
	}, sqlDevices, key.User, key.Host)
	if err != nil {
		return nil, wrap(ctx, "load devices", err)
	}
	return list, nil
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
