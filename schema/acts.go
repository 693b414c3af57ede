package schema

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"time"

	"imcd/engine/store"
)

const (
	sqlPutActs = `INSERT INTO imcd_acts (id, room, at, by_user, act, who, until, why)
		SELECT v.id, v.room, v.at, v.by_user, v.act, v.who, v.until, v.why FROM {act_rows} WHERE true
		ON CONFLICT (id) DO NOTHING`
	sqlActs = `SELECT id, room, at, by_user, act, who, until, why FROM imcd_acts WHERE room = $1
		ORDER BY at DESC, id DESC LIMIT $2`
	sqlActsOn = `SELECT id, room, at, by_user, act, who, until, why FROM imcd_acts WHERE lower(who) IN ($1, $2)
		ORDER BY at DESC, id DESC LIMIT $3`
	sqlOldActs = `DELETE FROM imcd_acts WHERE id IN (SELECT id FROM imcd_acts WHERE at < $1 ORDER BY at LIMIT $2)`
)

// actRow is a row of imcd_acts.
type actRow struct {
	ID    int64  `json:"id"`
	Room  string `json:"room"` // store.Name.Key()
	At    int64  `json:"at"`   // ms
	By    string `json:"by_user"`
	Act   string `json:"act"`
	Who   string `json:"who"`
	Until int64  `json:"until"` // ms
	Why   string `json:"why"`
}

func actOf(a *store.ActRow) actRow {
	return actRow{ID: a.ID, Room: a.Room.Key(), At: a.At.UnixMilli(), By: a.By, Act: a.Act, Who: a.Who,
		Until: millis(a.Until), Why: a.Why}
}

// Acts implements store.Store.
func (s *Store) Acts(ctx context.Context, room store.Name, limit int) ([]store.ActRow, error) {
	return s.acts(ctx, sqlActs, room.Key(), limit)
}

// ActsOn implements store.Store.
func (s *Store) ActsOn(ctx context.Context, user store.Name, limit int) ([]store.ActRow, error) {
	return s.acts(ctx, sqlActsOn, "sip:"+user.Key(), "*@"+strings.ToLower(user.Host), limit)
}

// acts takes what a query finds, newest first.
func (s *Store) acts(ctx context.Context, query string, args ...any) ([]store.ActRow, error) {
	var list []store.ActRow
	err := s.query(ctx, s.db, func(rows *sql.Rows) error {
		var a store.ActRow
		var room string
		var at, until int64
		if err := rows.Scan(&a.ID, &room, &at, &a.By, &a.Act, &a.Who, &until, &a.Why); err != nil {
			return err
		}
		last := strings.LastIndexByte(room, '@')
		a.Room, a.At = store.Name{User: room[:max(last, 0)], Host: room[last+1:]}, time.UnixMilli(at)
		if until > 0 {
			a.Until = time.UnixMilli(until)
		}
		list = append(list, a)
		return nil
	}, query, args...)
	if err != nil {
		return nil, wrap(ctx, "load what was done in rooms", err)
	}
	slices.Reverse(list)
	return list, nil
}
