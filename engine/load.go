package engine

import (
	"context"
	"fmt"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

// loadAhead is how many loaded rooms may wait to be installed.
const loadAhead = 64

// load gives the stored rooms of part to their shards, with the answers of an earlier run and kept
// notices. It returns once they have them.
func (e *Engine) load(ctx context.Context, part store.Part) error {
	if err := e.loadRooms(ctx, part); err != nil {
		return fmt.Errorf("loading rooms: %w", err)
	}
	if err := e.loadSeen(ctx, part); err != nil {
		return fmt.Errorf("loading answers: %w", err)
	}
	if err := e.loadNotes(ctx, part); err != nil {
		return fmt.Errorf("loading notices: %w", err)
	}
	_, err := e.eachShard(ctx, func(*shard) []store.Change { return nil })
	return err
}

// loadRooms loads rooms in this goroutine, and their shards install them meanwhile.
func (e *Engine) loadRooms(ctx context.Context, part store.Part) error {
	ahead := make(chan struct{}, loadAhead)
	return e.store.Load(ctx, part, func(state store.RoomState) error {
		select {
		case ahead <- struct{}{}:
		case <-e.ended:
			return errEnded
		case <-ctx.Done():
			return ctx.Err()
		}
		s := e.shardOf(state.Room.Name)
		s.inbox.post(func() {
			s.install(state)
			<-ahead
		})
		return nil
	})
}

// loadSeen loads the answers of an earlier run.
func (e *Engine) loadSeen(ctx context.Context, part store.Part) error {
	rows, err := e.store.Seen(ctx, part, time.Now().Add(-e.cfg.DuplicateWindow))
	if err != nil {
		return err
	}
	all := make(map[*shard][]*seenRequest)
	for _, row := range rows {
		if row.Code == 0 {
			continue // a sign, see signed
		}
		s := e.shardOfHash(row.Shard)
		all[s] = append(all[s], &seenRequest{key: row.Key, at: row.At, done: true,
			answer: evapi.Answer{Code: row.Code, RC: row.RC, Reason: row.Reason}})
	}
	for s, list := range all {
		s.inbox.post(func() {
			for _, one := range list {
				s.dedupe.remember(one, s.now)
			}
		})
	}
	return nil
}

// loadNotes loads kept notices. They are sent one after the other, as to users that are offline.
func (e *Engine) loadNotes(ctx context.Context, part store.Part) error {
	rows, err := e.store.Notes(ctx, part, maxKept*len(e.shards))
	if err != nil {
		return err
	}
	rooms := make(map[string]*room)
	for i := range rows {
		row := &rows[i]
		if time.Since(row.At) > keptAge {
			continue
		}
		key := row.Room.Key()
		if rooms[key] == nil {
			rooms[key] = newRoom(row.Room, 0)
		}
		s, of := e.shardOfKey(key), rooms[key]
		s.inbox.post(func() { s.delivery.keepLoaded(row, of) })
	}
	return nil
}

// keepLoaded keeps a notice for its user. of is its room, of which only the name counts.
func (d *delivery) keepLoaded(row *store.NoteRow, of *room) {
	out, err := d.engine.composeNotice(row.Room, d.rooms[of.key].title(), string(row.Body), "", row.At)
	if err != nil {
		d.engine.log.Warn().Err(err).Msg("notice cannot be sent")
		return
	}
	d.keepStored(row.User, note{out: out, room: of, stored: row.ID, made: row.At})
}
