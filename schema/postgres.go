package schema

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/lib/pq"
)

// migrationLock is the advisory lock that an imcd holds while it migrates: the
// letters imcd.
const migrationLock int64 = 0x696d6364

// postgresDialect is one database of a PostgreSQL server.
type postgresDialect struct {
	cfg       pq.Config
	connector *connector
	maxConns  int

	membersTable string
}

func newPostgresDialect(cfg pq.Config, preferTLS bool, opts Options) *postgresDialect {
	d := &postgresDialect{cfg: cfg, maxConns: opts.MaxConns, membersTable: opts.MembersTable}
	d.connector = newConnector(cfg, preferTLS, d.quick())
	return d
}

func (d *postgresDialect) name() string   { return "postgres" }
func (d *postgresDialect) binary() string { return `"C"` }

func (d *postgresDialect) target() string {
	var list []string
	for _, host := range hostsOf(d.cfg) {
		list = append(list, address(&host))
	}
	return strings.Join(list, ",") + "/" + d.cfg.Database
}

func (d *postgresDialect) open() (*sql.DB, error) {
	db := sql.OpenDB(d.connector)
	db.SetMaxOpenConns(d.maxConns)
	db.SetMaxIdleConns(d.maxConns)
	db.SetConnMaxIdleTime(time.Minute)
	return db, nil
}

// rows takes an array for each column: PostgreSQL knows the length of an array when
// it plans, and so when to use an index.
func (d *postgresDialect) rows(cols []column) string { return arraysFrom(1, cols) }

// arraysFrom makes rows of the parameters from number first on.
func arraysFrom(first int, cols []column) string {
	names, arrays := make([]string, len(cols)), make([]string, len(cols))
	for i, c := range cols {
		names[i], arrays[i] = c.name, fmt.Sprintf("$%d::%s[]", first+i, c.kind)
	}
	return "unnest(" + strings.Join(arrays, ", ") + ") AS v(" + strings.Join(names, ", ") + ")"
}

// args makes an array of each column.
func (d *postgresDialect) args(rows any) ([]any, error) {
	list := reflect.ValueOf(rows)
	cols := columnsOf(reflect.Zero(list.Type().Elem()).Interface())
	args := make([]any, len(cols))
	for i, c := range cols {
		switch c.kind {
		case "integer", "bigint":
			args[i] = pq.Array(cellsOf(list, i, reflect.Value.Int))
		case "boolean":
			args[i] = pq.Array(cellsOf(list, i, reflect.Value.Bool))
		case "bytea":
			args[i] = pq.Array(cellsOf(list, i, reflect.Value.Bytes))
		default:
			args[i] = pq.Array(cellsOf(list, i, reflect.Value.String))
		}
	}
	return args, nil
}

func (d *postgresDialect) skipLocked() string { return "FOR UPDATE SKIP LOCKED" }

func (d *postgresDialect) quick() *quickStatements { return newQuickStatements(d.membersTable) }

func (d *postgresDialect) relaxed() string { return "SET LOCAL synchronous_commit TO off" }

// oneOf makes an array: PostgreSQL takes IN for a join with a list of unknown
// length and reads the whole table.
func (d *postgresDialect) oneOf(query string) string { return "= ANY (ARRAY(" + query + "))" }

// lock ends with its transaction, so a lost connection leaves none behind.
func (d *postgresDialect) lock(ctx context.Context, db *sql.DB, fn func() error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("take the migration lock: %w", err)
	}
	defer tx.Rollback() // the lock was all it was for
	if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", migrationLock); err != nil {
		return fmt.Errorf("take the migration lock: %w", err)
	}
	return fn()
}

func (d *postgresDialect) encoding(ctx context.Context, q querier) (string, bool, error) {
	return firstEncoding(stringsOf(ctx, q, "SELECT current_setting('server_encoding')"))
}

func (d *postgresDialect) ping(ctx context.Context, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() // gives it back
	var readOnly bool
	err = conn.QueryRowContext(ctx,
		"SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean").Scan(&readOnly)
	if err == nil && readOnly {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // not to be used again
		err = errReadOnly
	}
	return err
}

// unconfirmed reports whether there are several servers and a commit waits for none but one.
func (d *postgresDialect) unconfirmed(ctx context.Context, q querier) bool {
	if len(d.cfg.Multi) == 0 {
		return false
	}
	names, err := stringsOf(ctx, q, "SHOW synchronous_standby_names")
	return err == nil && len(names) == 1 && names[0] == ""
}

func (d *postgresDialect) stale(err error) bool { return statementLost(err) || connectionLost(err) }

// ownerFirst knows that the rows of a room come in the order in which they lie
// in the table, with an index on room as well. All columns are carried over: an
// operator may have added some. Where nobody is the owner min is NULL.
func (d *postgresDialect) ownerFirst() (find, rewrite string) {
	return `SELECT m.room FROM {members} m{where} GROUP BY m.room
		HAVING min(m.ctid) <> min(m.ctid) FILTER (WHERE (m.flag & 1) = 1)`,
		`WITH moved AS (DELETE FROM {members} WHERE room {of_rooms} RETURNING *)
		INSERT INTO {members} SELECT * FROM moved ORDER BY room, (flag & 1) DESC, id`
}
