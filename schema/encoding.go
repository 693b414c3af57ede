package schema

import (
	"context"
	"fmt"
)

// checkEncoding refuses a database that cannot hold what people write: the first
// letter that it lacks would fail the commit of all that is said at that moment.
func (s *Store) checkEncoding(ctx context.Context) error {
	name, unicode, err := s.dialect.encoding(ctx, s.db)
	switch {
	case err != nil:
		return fmt.Errorf("ask for the encoding: %w", err)
	case !unicode:
		return fmt.Errorf("%w: its encoding is %s, not UTF8, so it cannot hold what people write; make one by "+
			"CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8', and copy the tables into it by pg_dump and psql",
			ErrUnfit, name)
	}
	return nil
}

// firstEncoding reads the answer to a query for the encoding.
func firstEncoding(answer []string, err error) (name string, unicode bool, _ error) {
	if err != nil || len(answer) == 0 {
		return "", false, err
	}
	switch answer[0] {
	case "UTF8", "UTF-8", "UTF-16le", "UTF-16be":
		return answer[0], true, nil
	}
	return answer[0], false, nil
}
