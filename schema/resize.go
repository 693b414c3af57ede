package schema

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// MaxShards is the most shards that a fleet can have: Kamailio divides rooms into so many slots.
const MaxShards = 1024

// ErrNoShards: a fleet cannot have this number of shards.
var ErrNoShards = fmt.Errorf("the number of shards must be a power of two, 1 to %d", MaxShards)

const (
	sqlLockFleet = `SELECT shards FROM imcd_fleet FOR UPDATE`
	// sqlProve fails if this engine was deposed meanwhile.
	sqlProve    = `SELECT 1 / count(*) FROM (SELECT id FROM imcd_fences WHERE id = $1 AND NOT gone FOR UPDATE) me`
	sqlSetFleet = `UPDATE imcd_fleet SET shards = $1`
	// sqlNewShards makes shards of nobody instead of those that there are. A Kamailio that remembers those goes by their
	// epochs.
	sqlNewShards = `WITH top AS MATERIALIZED (SELECT COALESCE(max(epoch), 0) + 1 AS epoch FROM imcd_shards),
			more AS (DELETE FROM imcd_shards WHERE shard >= $1)
		INSERT INTO imcd_shards (shard, epoch) SELECT s, top.epoch FROM top, generate_series(0, $1::int - 1) s
		ON CONFLICT (shard) DO UPDATE SET engine = NULL, epoch = EXCLUDED.epoch`
)

// Resize divides the rooms into another number of shards, and returns the one before. No imcd may live: use
// Options.Lease and OwnNow, and nothing but Close afterwards. ErrHeld names an imcd that lives, ErrNoShards says that
// n is wrong.
func (s *Store) Resize(ctx context.Context, n int) (before int, err error) {
	m, ok := s.lease.(*member)
	switch {
	case !ok:
		return 0, errors.New("there is no fleet: on SQLite one imcd works alone")
	case n < 1 || n > MaxShards || n&(n-1) != 0:
		return 0, ErrNoShards
	}
	if err := m.single(ctx); err != nil {
		return 0, wrap(ctx, "look for other imcd", err)
	}
	m.stop() // it is not to see shards that are not its own any more
	m.loops.Wait()
	err = s.inTx(ctx, func(tx *sql.Tx) error {
		if err := tx.QueryRowContext(ctx, sqlLockFleet).Scan(&before); err != nil {
			return err
		}
		for _, c := range []struct {
			query string
			args  []any
		}{{sqlProve, []any{m.me}}, {sqlSetFleet, []any{n}}, {sqlNewShards, []any{n}}} {
			if _, err := tx.ExecContext(ctx, c.query, c.args...); err != nil {
				return err
			}
		}
		return nil
	})
	return before, wrap(ctx, "divide the rooms", err)
}

// single waits until this engine is the only one: others that are dead have to be taken for dead first.
func (m *member) single(ctx context.Context) error {
	for {
		s := m.look()
		if s.all() && len(s.heard) == 0 {
			return nil
		}
		for _, w := range s.heard {
			if w.moved {
				return ErrHeld
			}
		}
		select {
		case <-m.judged:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrHeld, ctx.Err())
		}
	}
}
