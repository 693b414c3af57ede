package schema

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/lib/pq"

	"imcd/engine/store"
)

// sqlFence changes the row of the engine {me} in imcd_fences if this is its batch {batch}, and if all
// of {shards} still belong to it, each since its epoch. Whoever deposes the engine changes the same
// row: so that waits for a commit under way, and no commit succeeds after it.
const sqlFence = `fence AS (UPDATE imcd_fences SET last = {batch}::bigint
		WHERE id = {me}::bigint AND last < {batch}::bigint AND (NOT gone OR ` + openFence + `) AND (` + openShards + `
			OR NOT EXISTS (SELECT 1 FROM unnest({shards}::bigint[], {epochs}::bigint[]) AS f(shard, epoch)
				LEFT JOIN imcd_shards s ON s.shard = f.shard
				WHERE s.engine IS DISTINCT FROM {me}::bigint OR s.epoch <> f.epoch))
		RETURNING 1)`

// sqlFenced fails with invalid_text_representation (see deposed) if sqlFence found its row not so.
// {me} 0: there is no fence.
const sqlFenced = `(CASE WHEN {me}::bigint = 0 OR EXISTS (SELECT 1 FROM fence) THEN '1' ELSE 'deposed' END)::integer`

var (
	// sqlFenceFirst begins a transaction of several statements. $5: see frozenLimit.
	sqlFenceFirst = "WITH " + fenceAt(1) +
		" SELECT set_config('idle_in_transaction_session_timeout', $5::text, true), " + fencedBy(1)
	sqlNoFence = "SELECT set_config('idle_in_transaction_session_timeout', '3000', true)"
	// sqlHasBatch waits for a commit under way. It is a commit itself, so that the standby has batch $2,
	// too, once it is done. It has no row if the engine is gone, and fails as sqlFenced does if the batch
	// is not there.
	sqlHasBatch = `WITH f AS (UPDATE imcd_fences SET last = last WHERE id = $1 AND NOT gone RETURNING last)
		SELECT (CASE WHEN last >= $2::bigint THEN '1' ELSE 'missing' END)::integer FROM f`
)

// fenceAt is sqlFence with four parameters from number first on; see fenceArgs.
func fenceAt(first int) string {
	return strings.NewReplacer("{me}", fmt.Sprint("$", first), "{batch}", fmt.Sprint("$", first+1),
		"{shards}", fmt.Sprint("$", first+2), "{epochs}", fmt.Sprint("$", first+3)).Replace(sqlFence)
}

// fencedBy is sqlFenced for the fence at first.
func fencedBy(first int) string { return strings.ReplaceAll(sqlFenced, "{me}", fmt.Sprint("$", first)) }

// frozenLimit is how long, in milliseconds, the server waits for the next statement of a transaction with
// changes. If imcd freezes in the middle of it, the server ends it, so that another imcd can take over. A
// large statement takes its time to be made and sent.
func frozenLimit(changes []store.Change) int {
	limit := 700 + len(changes)
	for i := range changes {
		if m := changes[i].Message; m != nil {
			limit += len(m.Body) / 10000
		}
	}
	return limit
}

// fenceParams is how many parameters fenceArgs makes.
const fenceParams = 4

// fenceArgs are the parameters of a fence.
func (s *Store) fenceArgs(f store.Fence) []any {
	me := s.EngineID()
	if f.Batch == 0 {
		me = 0
	}
	return []any{me, int64(f.Batch), pq.Array(f.Owned.Shards), pq.Array(f.Owned.Epochs)}
}

// errNoFence is a fault of the caller: an engine must not write without its fence.
var errNoFence = fmt.Errorf("%w: a commit of an engine needs the number of a batch", ErrInvalid)

// checkFence refuses a commit without a fence by an engine that may lose its shards.
func (s *Store) checkFence(f store.Fence) error {
	if s.EngineID() != 0 && f.Batch == 0 {
		return errNoFence
	}
	return nil
}

// begin does what every transaction begins with; changes are what it makes, if that is known. The zero
// Fence: it proves nothing, and ends if this imcd freezes all the same.
func (s *Store) begin(ctx context.Context, tx *sql.Tx, f store.Fence, changes []store.Change) error {
	if s.dialect.name() != "postgres" {
		return nil
	}
	if f.Batch == 0 || s.EngineID() == 0 {
		_, err := tx.ExecContext(ctx, sqlNoFence)
		return err
	}
	_, err := tx.ExecContext(ctx, sqlFenceFirst, append(s.fenceArgs(f), strconv.Itoa(frozenLimit(changes)))...)
	return err
}

// settle finds out what err means for a commit with the fence f, if it is that the fence does not hold:
// the batch may have been committed before, by the same call or an earlier one. It returns nil if
// that is so, ErrDeposed if this engine may not commit any more, and any other err as it is.
func (s *Store) settle(ctx context.Context, f store.Fence, err error) error {
	if !isFenceError(err) || f.Batch == 0 {
		return err
	}
	stored, why := s.hasBatch(ctx, f)
	switch {
	case stored:
		return nil
	case why != nil && errors.Is(why, store.ErrDeposed):
		return why
	case why != nil:
		return uncertain(why)
	}
	return s.deposed("a shard has another owner")
}

// hasBatch reports whether the batch of f was committed; ErrDeposed: it was not, and never will be.
func (s *Store) hasBatch(ctx context.Context, f store.Fence) (bool, error) {
	gone, stored, err := hasBatch(ctx, s.db, s.EngineID(), f.Batch)
	if gone {
		err = s.deposed("its commits are refused")
	}
	return stored, err
}

// hasBatch reports whether a batch of an engine was committed, and the standby has it, too; or that the
// engine is gone.
func hasBatch(ctx context.Context, db *sql.DB, engine int64, batch uint64) (gone, stored bool, err error) {
	// Not a query: conn knows of a statement only that the standby has not confirmed it.
	result, err := db.ExecContext(ctx, sqlHasBatch, engine, int64(batch))
	if isFenceError(err) {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	n, err := result.RowsAffected()
	return err == nil && n == 0, n > 0, err
}

// deposed makes the error of an engine that was deposed, and tells it.
func (s *Store) deposed(why string) error {
	err := fmt.Errorf("%w: %s", store.ErrDeposed, why)
	if s.lease != nil {
		s.lease.lost(err)
	}
	return err
}

// durable is the number of the last batch that the database must never lose.
type durable struct{ batch atomic.Uint64 }

// raise notes a batch whose commit was confirmed. Batches are committed one at a time.
func (d *durable) raise(batch uint64) { d.batch.Store(max(batch, d.batch.Load())) }
