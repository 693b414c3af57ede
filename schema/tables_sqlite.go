package schema

import (
	"context"
	"database/sql"
	"strings"
)

// table looks a table up; no columns: there is none. SQLite keeps any value in any
// column, so types and lengths say nothing.
func (d *sqliteDialect) table(ctx context.Context, q querier, table string) (*tableInfo, error) {
	info := &tableInfo{}
	kinds, err := stringsOf(ctx, q,
		"SELECT type FROM sqlite_schema WHERE lower(name) = lower($1) AND type IN ('table', 'view')", table)
	if err != nil || len(kinds) == 0 {
		return info, err
	}
	info.kind = kinds[0]
	err = EachRow(ctx, q, func(rows *sql.Rows) error {
		var c columnInfo
		var kind string
		var filler sql.NullString
		var key, keys int
		if err := rows.Scan(&c.name, &kind, &c.needed, &filler, &key, &keys); err != nil {
			return err
		}
		// An INTEGER PRIMARY KEY is the number that each row has anyway.
		c.filled = filler.Valid && !strings.EqualFold(filler.String, "NULL") || kind == "INTEGER" && key == 1 && keys == 1
		info.columns = append(info.columns, c)
		return nil
	}, `SELECT lower(name), upper(type), "notnull" <> 0, dflt_value, pk,
		max(pk) OVER () FROM pragma_table_info($1)`, table)
	if err != nil {
		return nil, err
	}
	info.unique, err = stringsOf(ctx, q, `SELECT (SELECT group_concat(name, ',') FROM
			(SELECT lower(c.name) AS name FROM pragma_index_info(i.name) c ORDER BY 1))
		FROM pragma_index_list($1) i WHERE i."unique" AND NOT i.partial`, table)
	return info, err
}

// wrongRights has none to list: the rights are the file's.
func (d *sqliteDialect) wrongRights(context.Context, querier, string) ([]string, error) {
	return nil, nil
}

// moveSequence is not needed: the next id follows the highest.
func (d *sqliteDialect) moveSequence(context.Context, querier, string) (bool, error) {
	return false, nil
}
