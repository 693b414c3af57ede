package schema

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/lib/pq"

	"imcd/engine/store"
)

// sqlMoveShards gives the shards $2 of the engine $1 to the engines $3. It fails with division_by_zero if one of
// them is gone. FOR KEY SHARE lets nobody forget an engine that gets shards at this moment, and holds up none of
// its commits; if it is being deposed, its shards belong to one that is gone, and are taken over.
const sqlMoveShards = `WITH v AS MATERIALIZED (SELECT * FROM unnest($2::bigint[], $3::bigint[]) AS m(shard, engine)),
	there AS MATERIALIZED (SELECT id FROM imcd_fences WHERE NOT gone AND id IN (SELECT engine FROM v) FOR KEY SHARE),
	moved AS (UPDATE imcd_shards s SET engine = v.engine, epoch = s.epoch + 1 FROM v JOIN there ON there.id = v.engine
		WHERE s.shard = v.shard AND s.engine = $1 RETURNING 1)
	SELECT 1 / CASE WHEN (SELECT count(*) FROM moved) = (SELECT count(*) FROM v) THEN 1 ELSE 0 END`

// errNotProven is a fault of the caller.
var errNotProven = fmt.Errorf("%w: an engine gives a shard away that its fence does not name", ErrInvalid)

// checkMoves refuses moves of shards that the fence does not prove to be this engine's.
func checkMoves(f store.Fence, changes []store.Change) error {
	for i := range changes {
		if m := changes[i].Move; changes[i].Op == store.MoveShard && !slices.Contains(f.Owned.Shards, m.Shard) {
			return errNotProven
		}
	}
	return nil
}

// moveShards gives shards away.
func (s *Store) moveShards(ctx context.Context, tx *sql.Tx, moves []store.Move) error {
	if len(moves) == 0 {
		return nil
	}
	shards, engines := make([]int64, len(moves)), make([]int64, len(moves))
	for i, m := range moves {
		shards[i], engines[i] = m.Shard, m.To
	}
	_, err := tx.ExecContext(ctx, sqlMoveShards, s.EngineID(), pq.Array(shards), pq.Array(engines))
	if isDivision(err) {
		return fmt.Errorf("%w: the engine that is to get a shard is gone", ErrInvalid)
	}
	return err
}
