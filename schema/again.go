package schema

import (
	"context"
	"fmt"
)

// A Commit whose outcome is not known is carried out again, and must be done once only.
// That it was done before is seen by an answer to a request that it has stored. Where it
// is still being done, at the other end of a connection that was lost, or waits for a
// standby, this waits behind it: the first row that both change is locked. A statement
// that has not even begun by then finds the numbers of its messages taken.

// isStored reports whether the answer is stored by an earlier Commit. If not, it is from now
// on, and nobody else stores it before tx ends.
func (s *Store) isStored(ctx context.Context, tx querier, answer []seenRow) (bool, error) {
	first, err := s.execSeen(ctx, tx, sqlFirstSeen, answer)
	if first || err != nil {
		return false, err
	}
	return s.wasStored(ctx, tx, answer)
}

// wasStored reports whether the answer is stored. When q is committed it is so at the
// standby, too.
func (s *Store) wasStored(ctx context.Context, q querier, answer []seenRow) (bool, error) {
	return s.execSeen(ctx, q, sqlSameSeen, answer)
}

// execSeen reports whether a statement changed a row.
func (s *Store) execSeen(ctx context.Context, q querier, statement string, answer []seenRow) (bool, error) {
	args, err := s.dialect.args(answer)
	if err != nil {
		return false, err
	}
	result, err := q.ExecContext(ctx, s.names.Replace(statement), args...)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	if err != nil {
		return false, fmt.Errorf("count the answers: %w", err)
	}
	return n > 0, nil
}
