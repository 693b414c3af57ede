package schema

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"time"

	"imcd/engine/store"
)

// Store is a store.Store. Make one with Open.
type Store struct {
	opts    Options
	dialect dialect
	db      *sql.DB
	commits *sql.DB           // for Commit alone, see openCommits; SQLite: db
	names   *strings.Replacer // of the statements
	quick   *quickStatements  // see dialect

	lease   lease // nil: none was asked for
	durable durable

	mu        sync.Mutex
	leftovers leftovers // by mu

	closeOnce sync.Once
	released  sync.Once
	closeErr  error // by closeOnce
}

var _ store.Store = (*Store)(nil)

// Open connects to the database that dbURL names, makes or migrates its tables
// and returns a Store that works on them. dbURL is sqlite://PATH or
// postgres://USER:PASSWORD@HOST[:PORT]/DATABASE, with the options of lib/pq after
// a question mark. Without the option sslmode, TLS is used if the server has it.
//
// Errors name the setting that is wrong (db_url, rooms_table, members_table) and
// never hold the password. ErrUnavailable: the database cannot be reached or
// written to. ErrNewer: it belongs to a newer imcd. ErrHeld: another imcd works with
// it (SQLite). ErrUnfit: its encoding or its tables are not what imcd can work with. Nothing is
// retried.
func Open(ctx context.Context, dbURL string, opts Options) (*Store, error) {
	opts = opts.withDefaults()
	if err := opts.check(); err != nil {
		return nil, err
	}
	d, err := openDialect(dbURL, opts)
	if err != nil {
		return nil, err
	}
	db, err := d.open()
	if err != nil {
		return nil, errURL("%w", err)
	}
	s := &Store{opts: opts, dialect: d, db: db, commits: db, names: replacer(d, opts), quick: d.quick(),
		leftovers: newLeftovers()}
	if err = s.openCommits(); err == nil {
		err = s.start(ctx)
	}
	if err != nil {
		_ = s.Close() // the first error tells more
		return nil, err
	}
	return s, nil
}

// openCommits gives commits of PostgreSQL connections of their own, which are never closed for being idle. All
// senders wait for a commit that has to wait until a connection is made, or until its statements are planned on one:
// on a busy machine that takes a fifth of a second, and other statements come in bursts.
func (s *Store) openCommits() error {
	if s.quick == nil {
		return nil
	}
	db, err := s.dialect.open()
	if err != nil {
		return errURL("%w", err)
	}
	db.SetMaxOpenConns(2) // one may still end a commit that was given up
	db.SetConnMaxIdleTime(0)
	s.commits = db
	return nil
}

func (s *Store) start(ctx context.Context) error {
	if err := s.Ping(ctx); err != nil {
		return errURL("%w", err)
	}
	for _, step := range []func(context.Context) error{s.checkEncoding, s.lockFile, s.migrate, s.join} {
		if err := step(ctx); err != nil {
			return errURL("%w", wrap(ctx, s.dialect.target(), err))
		}
	}
	if s.quick == nil {
		return nil
	}
	if d, ok := s.dialect.(*postgresDialect); ok && d.unconfirmed(ctx, s.db) {
		s.opts.Log.Warn().Msg("synchronous_standby_names is empty: what was answered 200 may be lost when the primary fails")
	}
	// So that the first message, as a rule, need not wait until this is parsed and
	// planned.
	q, err := s.ofBatch(&batch{}, store.Fence{}, true)
	if err == nil {
		err = s.commitQuick(ctx, store.Fence{}, q, false)
	}
	if err != nil {
		return errURL("%w", wrap(ctx, s.dialect.target(), err))
	}
	return nil
}

// Ping implements store.Store. It proves that the database would take a commit
// now, as far as that can be seen without one.
func (s *Store) Ping(ctx context.Context) error {
	err := s.dialect.ping(ctx, s.db)
	// The answer may be that of an idle connection which did not outlive a
	// restart of the server.
	for range s.opts.MaxConns {
		if err == nil || ctx.Err() != nil || !s.dialect.stale(err) {
			break
		}
		err = s.dialect.ping(ctx, s.db)
	}
	return wrap(ctx, "reach "+s.dialect.target(), err)
}

// Close implements store.Store. It may be called more than once.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		s.Release()
		if err := cmp.Or(s.commits.Close(), s.db.Close()); err != nil {
			s.closeErr = fmt.Errorf("close the database: %w", err)
		}
	})
	return s.closeErr
}

// inTx runs fn in a transaction. If a connection turns out to be lost before
// anything was done, another one is taken.
func (s *Store) inTx(ctx context.Context, fn func(tx *sql.Tx) error) error {
	return s.inTxOf(ctx, s.db, fn)
}

// inTxOf is inTx on a connection of db.
func (s *Store) inTxOf(ctx context.Context, db *sql.DB, fn func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	for range s.opts.MaxConns {
		if err == nil || ctx.Err() != nil || !s.dialect.stale(err) {
			break
		}
		tx, err = db.BeginTx(ctx, nil)
	}
	if err != nil {
		return err
	}
	defer tx.Rollback() // nothing is left to roll back after Commit
	if err := fn(tx); err != nil {
		return err
	}
	if err = tx.Commit(); undecided(err) {
		err = uncertain(err)
	}
	return err
}

// slow logs a commit that took long.
func (s *Store) slow(start time.Time, changes int) {
	if d := time.Since(start); d > s.opts.SlowCommit {
		s.opts.Log.Warn().Dur("took", d).Int("changes", changes).Msg("the database is slow")
	}
}
