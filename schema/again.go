package schema

import (
	"context"
	"fmt"
)

// A Commit whose outcome is not known is carried out again, and must be done once only. An engine of a
// fleet asks for the number of its last commit (fence.go). The following is for other Stores: An
// answer to a request that is already stored shows that it was done. The database may still
// be busy with it, or wait for a standby: the second Commit then waits for the first, which
// has locked the first row that both change. If the first has not even begun by then, it
// finds the numbers of its messages in use and fails.

// isStored reports whether an earlier Commit has stored the answer. If not, tx stores it
// now, and nobody else can before tx ends.
func (s *Store) isStored(ctx context.Context, tx querier, answer []seenRow) (bool, error) {
	first, err := s.execSeen(ctx, tx, sqlFirstSeen, answer)
	if first || err != nil {
		return false, err
	}
	return s.wasStored(ctx, tx, answer)
}

// wasStored reports whether the answer is stored. Once q is committed, the standby has it,
// too.
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
