package contest

import (
	"context"
	"errors"
	"fmt"
	"os"

	"imcd/schema"
	"imcd/schema/schematest"
)

// Database is a PostgreSQL server of its own, which waits for the disk with every
// commit and holds the module's tables.
type Database struct {
	dir string
	pg  *schematest.Postgres
	url string
}

// NewDatabase starts a server and fills its tables by SQL. The caller must call
// Stop.
func NewDatabase(ctx context.Context, sql string) (d *Database, err error) {
	dir, err := os.MkdirTemp("", "imcd-bench-")
	if err != nil {
		return nil, fmt.Errorf("folder for PostgreSQL: %w", err)
	}
	d = &Database{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Stop())
		}
	}()
	if d.pg, err = schematest.StartPostgres(ctx, dir, schematest.Options{Fsync: true}); err != nil {
		return nil, err
	}
	d.url = d.pg.URL("postgres")
	store, err := schema.Open(ctx, d.url, schema.Options{})
	if err != nil {
		return nil, fmt.Errorf("make the tables: %w", err)
	}
	if err := store.Close(); err != nil {
		return nil, fmt.Errorf("make the tables: %w", err)
	}
	return d, d.Fill(ctx, sql)
}

// Fill runs SQL and leaves the tables as autovacuum would.
func (d *Database) Fill(ctx context.Context, sql string) error {
	for _, statements := range []string{sql, "VACUUM ANALYZE"} {
		if err := d.pg.Exec(ctx, "postgres", statements); err != nil {
			return fmt.Errorf("fill the tables: %w", err)
		}
	}
	return nil
}

// URL is its db_url.
func (d *Database) URL() string { return d.url }

// Stop ends the server and removes its files. It does nothing for nil.
func (d *Database) Stop() error {
	if d == nil {
		return nil
	}
	var err error
	if d.pg != nil {
		err = d.pg.StopFast()
	}
	return errors.Join(err, os.RemoveAll(d.dir))
}
