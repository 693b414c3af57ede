package schema

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"time"

	"imcd/engine/store"
)

// A step of Prune is a transaction of its own that reads at most this many rooms and about
// as many messages: commits wait for no more than one step.
const (
	pruneRooms    = 200
	pruneMessages = 2000
	pruneSeen     = 5000
)

// limits are store.Limits as the statements need them.
type limits struct {
	messages int64 // kept
	bytes    int64 // kept
	before   int64 // ms; older messages are deleted

	own map[int64]int64 // before of rooms that have their own, by id
}

// Prune implements store.Store: one look at each room's row, and steps of
// bounded size for those that are over the limits. A room that somebody else is
// writing to is left for the next time.
//
// It also deletes the messages and cursors of destroyed rooms, which do not count.
//
// Messages are deleted from the oldest number on. A room keeps its last
// Limits.Messages numbers; a message that is not too old keeps those after it.
func (s *Store) Prune(ctx context.Context, l store.Limits, now time.Time) (int, error) {
	n, err := s.pruneMessages(ctx, l, now)
	if err == nil {
		err = s.pruneDestroyed(ctx)
	}
	if err == nil && l.SeenAge > 0 {
		err = s.inSlices(ctx, pruneSeen, sqlDropSeen, now.Add(-l.SeenAge).UnixMilli(), pruneSeen)
	}
	if err == nil && l.NoteAge > 0 {
		_, err = s.db.ExecContext(ctx, s.names.Replace(sqlOldNotes), now.Add(-l.NoteAge).UnixMilli(), pruneSeen)
	}
	if err == nil && l.DeviceAge > 0 {
		err = s.inSlices(ctx, pruneSeen, sqlOldDevices, now.Add(-l.DeviceAge).UnixMilli(), pruneSeen)
	}
	if err == nil && l.ActAge > 0 {
		err = s.inSlices(ctx, pruneSeen, sqlOldActs, now.Add(-l.ActAge).UnixMilli(), pruneSeen)
	}
	return n, wrap(ctx, "delete old messages, answers, notices, devices and acts", err)
}

func (s *Store) pruneMessages(ctx context.Context, l store.Limits, now time.Time) (int, error) {
	to := limits{messages: math.MaxInt64, bytes: math.MaxInt64, before: math.MinInt64}
	if l.Messages > 0 {
		to.messages = int64(l.Messages)
	}
	if l.Bytes > 0 {
		to.bytes = l.Bytes
	}
	if l.Age > 0 {
		to.before = now.Add(-l.Age).UnixMilli()
	}
	over, err := s.idRows(ctx, s.db, sqlOver, to.messages, to.bytes, to.before)
	if err != nil {
		return 0, err
	}
	if over, err = s.addKeeps(ctx, &to, over, now); err != nil {
		return 0, err
	}
	total := 0
	for rooms := range slices.Chunk(over, pruneRooms) {
		for more := true; more; {
			var n int
			if n, more, err = s.pruneStep(ctx, rooms, to); err != nil {
				return total, err
			}
			total += n
		}
	}
	return total, nil
}

// addKeeps reads how long rooms keep their messages, if they have set that, and adds the rooms that have
// older ones to over.
func (s *Store) addKeeps(ctx context.Context, to *limits, over []idRow, now time.Time) ([]idRow, error) {
	to.own = make(map[int64]int64)
	err := s.query(ctx, s.db, func(rows *sql.Rows) error {
		var id, seq, pruned, oldest int64
		var keep string
		if err := rows.Scan(&id, &keep, &seq, &pruned, &oldest); err != nil {
			return err
		}
		before := int64(math.MinInt64)
		if d, ok := store.ReadTerm(keep); ok {
			before = now.Add(-d).UnixMilli()
		} else if keep != store.SettingOff {
			return nil
		}
		to.own[id] = before
		if pruned < seq && oldest < before {
			over = append(over, idRow{ID: id})
		}
		return nil
	}, sqlKeeps, store.SettingKeep)
	slices.SortFunc(over, func(x, y idRow) int { return cmp.Compare(x.ID, y.ID) })
	return slices.CompactFunc(over, func(x, y idRow) bool { return x.ID == y.ID }), err
}

// pruneStep returns how many messages it deleted and whether there may be more.
func (s *Store) pruneStep(ctx context.Context, rooms []idRow, to limits) (n int, more bool, err error) {
	err = s.inTx(ctx, func(tx *sql.Tx) error {
		if err := s.begin(ctx, tx, store.Fence{}, nil); err != nil {
			return err
		}
		list, err := s.lockOver(ctx, tx, rooms, to)
		if err != nil || len(list) == 0 {
			return err
		}
		more = true
		if err := s.oldest(ctx, tx, list); err != nil {
			return err
		}
		var drop []keyRow
		kept := make([]keptRow, len(list))
		for i := range list {
			drop = append(drop, list[i].prune(to)...)
			kept[i] = list[i].kept
		}
		n = len(drop)
		if err := execRows(ctx, s, tx, drop, sqlDropMessages); err != nil {
			return err
		}
		return execRows(ctx, s, tx, kept, sqlPutKept)
	})
	if err != nil {
		return 0, false, err
	}
	return n, more, nil
}

// prunedRoom is a room in a step of Prune.
type prunedRoom struct {
	kept   keptRow
	seq    int64
	oldest []oldMessage // in the order of their numbers
	upto   int64        // the highest number that could be among them
}

type oldMessage struct{ seq, at, size int64 }

func (r *prunedRoom) over(to limits) bool {
	if own, has := to.own[r.kept.RoomID]; has {
		to.before = own
	}
	return r.kept.Pruned < r.seq &&
		(r.seq-r.kept.Pruned > to.messages || r.kept.Bytes > to.bytes || r.kept.Oldest < to.before)
}

// prune returns the oldest messages, as long as the room is over the limits.
func (r *prunedRoom) prune(to limits) (drop []keyRow) {
	for _, m := range r.oldest {
		// Numbers below m that are missing were never stored.
		r.kept.Pruned, r.kept.Oldest = m.seq-1, m.at
		if !r.over(to) {
			return drop
		}
		drop = append(drop, keyRow{RoomID: r.kept.RoomID, Seq: m.seq})
		r.kept.Pruned = m.seq
		r.kept.Bytes -= m.size
	}
	r.kept.Pruned = r.upto
	if r.upto == r.seq {
		r.kept.Bytes = 0
	}
	return drop
}

// lockOver returns those of rooms that are over the limits, locked.
func (s *Store) lockOver(ctx context.Context, tx *sql.Tx, rooms []idRow, to limits) (list []prunedRoom, err error) {
	args, err := s.dialect.args(rooms)
	if err != nil {
		return nil, err
	}
	err = s.query(ctx, tx, func(rows *sql.Rows) error {
		var r prunedRoom
		if err := rows.Scan(&r.kept.RoomID, &r.seq, &r.kept.Pruned, &r.kept.Bytes, &r.kept.Oldest); err != nil {
			return err
		}
		if r.over(to) {
			list = append(list, r)
		}
		return nil
	}, sqlOverLocked, args...)
	return list, err
}

// oldest fills in the oldest messages of the rooms.
func (s *Store) oldest(ctx context.Context, tx *sql.Tx, list []prunedRoom) error {
	each := int64(pruneMessages / len(list))
	var keys []keyRow
	byID := make(map[int64]*prunedRoom, len(list))
	for i := range list {
		r := &list[i]
		r.upto = min(r.kept.Pruned+each, r.seq)
		for seq := r.kept.Pruned + 1; seq <= r.upto; seq++ {
			keys = append(keys, keyRow{RoomID: r.kept.RoomID, Seq: seq})
		}
		byID[r.kept.RoomID] = r
	}
	args, err := s.dialect.args(keys)
	if err != nil {
		return err
	}
	return s.query(ctx, tx, func(rows *sql.Rows) error {
		var id int64
		var m oldMessage
		if err := rows.Scan(&id, &m.seq, &m.at, &m.size); err != nil {
			return err
		}
		byID[id].oldest = append(byID[id].oldest, m)
		return nil
	}, sqlOldest, args...)
}

// pruneDestroyed deletes the messages and cursors of destroyed rooms, in steps, so that a
// commit waits for one step at most. If it is interrupted, the next call goes on.
func (s *Store) pruneDestroyed(ctx context.Context) error {
	for {
		ids, err := s.idRows(ctx, s.db, sqlDestroyed, pruneRooms)
		if err != nil || len(ids) == 0 {
			return err
		}
		args, err := s.dialect.args(ids)
		if err != nil {
			return err
		}
		for _, step := range []string{sqlDropMessagesOfIDs, sqlDropCursorsOfIDs, sqlDropPlacesOfIDs, sqlDropJoinsOfIDs,
			sqlDropSettingsOfIDs, sqlDropDestroyed} {
			if err := s.inSlices(ctx, pruneMessages, step, args...); err != nil {
				return err
			}
		}
	}
}

// inSlices repeats a statement that deletes at most so many rows, each time in a
// transaction of its own, until it finds fewer.
func (s *Store) inSlices(ctx context.Context, most int64, statement string, args ...any) error {
	for {
		result, err := s.db.ExecContext(ctx, s.names.Replace(statement), args...)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		if err != nil {
			return fmt.Errorf("count the deleted rows: %w", err)
		}
		if n < most {
			return nil
		}
	}
}
