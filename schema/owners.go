package schema

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// reorderRounds bounds how often the rows of a room are written again. A round
// can fail to bring the order when the free space that it fills lies partly
// before the owner's; the next one starts behind what this one filled.
const reorderRounds = 5

// ownersFirst puts the owner first in every room where that order got lost.
func (s *Store) ownersFirst(ctx context.Context) error {
	if find, _ := s.dialect.ownerFirst(); find == "" {
		return nil
	}
	err := s.inTx(ctx, func(tx *sql.Tx) error { return s.reorder(ctx, tx, nil) })
	return wrap(ctx, "put owners first", err)
}

// reorder does so in the given rooms (URIs); nil means all.
func (s *Store) reorder(ctx context.Context, tx *sql.Tx, rooms []string) error {
	find, rewrite := s.dialect.ownerFirst()
	if find == "" {
		return nil
	}
	for range reorderRounds {
		wrong, err := s.findWrong(ctx, tx, find, rooms)
		if err != nil || len(wrong) == 0 {
			return err
		}
		if err := execRows(ctx, s, tx, roomRows(wrong), rewrite); err != nil {
			return err
		}
		rooms = wrong
	}
	s.opts.Log.Warn().Int("rooms", len(rooms)).Msg("the owner may not be the first member that Kamailio's imc module reads")
	return nil
}

func (s *Store) findWrong(ctx context.Context, tx *sql.Tx, find string, rooms []string) ([]string, error) {
	if rooms == nil {
		return stringsOf(ctx, tx, s.names.Replace(strings.Replace(find, "{where}", "", 1)))
	}
	args, err := s.dialect.args(roomRows(rooms))
	if err != nil {
		return nil, fmt.Errorf("find rooms: %w", err)
	}
	where := " WHERE m.room {of_rooms}"
	return stringsOf(ctx, tx, s.names.Replace(strings.Replace(find, "{where}", where, 1)), args...)
}

func roomRows(uris []string) []roomRow {
	rows := make([]roomRow, len(uris))
	for i, uri := range uris {
		rows[i] = roomRow{Room: uri}
	}
	return rows
}
