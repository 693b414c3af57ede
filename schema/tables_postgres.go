package schema

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/lib/pq"
)

// tableKinds says what pg_class.relkind means.
var tableKinds = map[string]string{"r": "table", "p": "table", "v": "view", "m": "materialized view",
	"f": "foreign table"}

// varcharHeader is what PostgreSQL adds to the length of a varchar in its typmod.
const varcharHeader = 4

// sqlFills: there is a trigger, which may fill in any column before a row is added.
const sqlFills = `EXISTS (SELECT 1 FROM pg_trigger g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal
	AND g.tgenabled <> 'D' AND g.tgtype::integer & 7 = 7)` // FOR EACH ROW, BEFORE, INSERT

// table looks a table up as a statement that names it would; no columns: there is none.
func (d *postgresDialect) table(ctx context.Context, q querier, table string) (*tableInfo, error) {
	info := &tableInfo{}
	err := EachRow(ctx, q, func(rows *sql.Rows) error {
		var c columnInfo
		var kind string
		var mod int
		if err := rows.Scan(&kind, &c.name, &c.kind, &mod, &c.needed, &c.filled); err != nil {
			return err
		}
		if info.kind = tableKinds[kind]; info.kind == "" {
			info.kind = "relation of the kind " + kind
		}
		if c.kind == "varchar" && mod > varcharHeader {
			c.chars = mod - varcharHeader
		}
		info.columns = append(info.columns, c)
		return nil
	}, `SELECT c.relkind::text, a.attname, COALESCE(b.typname, t.typname),
			CASE t.typtype WHEN 'd' THEN t.typtypmod ELSE a.atttypmod END, a.attnotnull OR t.typnotnull,
			a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL OR `+sqlFills+`
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid
			LEFT JOIN pg_type b ON b.oid = t.typbasetype
		WHERE c.oid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`, table)
	if err != nil || len(info.columns) == 0 {
		return info, err
	}
	info.unique, err = stringsOf(ctx, q, `SELECT string_agg(a.attname, ',' ORDER BY a.attname)
		FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
		WHERE i.indrelid = to_regclass($1) AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL
		GROUP BY i.indexrelid`, table)
	return info, err
}

// wrongRights lists the rights that the role lacks.
func (d *postgresDialect) wrongRights(ctx context.Context, q querier, table string) ([]string, error) {
	missing, err := stringsOf(ctx, q, `SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p
		WHERE NOT has_table_privilege(to_regclass($1), p)`, table)
	if err != nil {
		return nil, err
	}
	var wrong []string
	if len(missing) > 0 {
		rights := strings.Join(missing, ", ")
		wrong = append(wrong, fmt.Sprintf("the role %s may not %s: GRANT %s ON %s TO %s", d.cfg.User, rights, rights, table,
			pq.QuoteIdentifier(d.cfg.User)))
	}
	sequence, err := stringsOf(ctx, q, `SELECT s FROM pg_get_serial_sequence($1, 'id') AS s
		WHERE s IS NOT NULL AND NOT has_sequence_privilege(s, 'USAGE')`, table)
	if err == nil && len(sequence) > 0 {
		wrong = append(wrong,
			fmt.Sprintf("the role %s may not use its sequence: GRANT USAGE, SELECT, UPDATE ON SEQUENCE %s TO %s",
				d.cfg.User, sequence[0], pq.QuoteIdentifier(d.cfg.User)))
	}
	return wrong, err
}

func (d *postgresDialect) moveSequence(ctx context.Context, q querier, table string) (bool, error) {
	sequence, err := stringsOf(ctx, q, `SELECT s FROM pg_get_serial_sequence($1, 'id') AS s WHERE s IS NOT NULL
		AND has_sequence_privilege(s, 'SELECT')`, table)
	if err != nil || len(sequence) == 0 {
		return false, err
	}
	var may bool
	var highest sql.NullInt64
	rows, err := q.QueryContext(ctx, `SELECT has_sequence_privilege($1, 'UPDATE'), (SELECT max(id) FROM `+table+`)
		FROM `+sequence[0]+` s
		WHERE (SELECT max(id) FROM `+table+`) >= s.last_value + CASE WHEN s.is_called THEN 1 ELSE 0 END`, sequence[0])
	if err != nil {
		return false, err
	}
	defer rows.Close()
	if !rows.Next() {
		return false, rows.Err()
	}
	if err := rows.Scan(&may, &highest); err != nil {
		return false, err
	}
	if err := rows.Close(); err != nil {
		return false, err
	}
	if !may {
		return false,
			fmt.Errorf("%w: its sequence stands behind its ids, so that no row can be added: SELECT setval('%s', %d)",
				ErrUnfit, sequence[0], highest.Int64)
	}
	_, err = q.ExecContext(ctx, "SELECT setval($1::regclass, $2)", sequence[0], highest.Int64)
	return err == nil, err
}
