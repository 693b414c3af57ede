package dbcopy

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/lib/pq"
	_ "modernc.org/sqlite"

	"imcd/evapi/evapitest/imcmodule"
	"imcd/evapi/evapitest/kit"
	"imcd/schema"
	"imcd/schema/schematest"
)

func TestMain(m *testing.M) { schematest.Main(m) }

// kamailioTables are the module's tables as Kamailio's package makes them.
func kamailioTables(t *testing.T, kind string) string {
	t.Helper()
	var all strings.Builder
	for _, name := range []string{"standard", "imc"} {
		text, err := os.ReadFile(filepath.Join("/usr/share/kamailio", kind, name+"-create.sql"))
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

// newMySQL is a database of MariaDB with Kamailio's tables.
func newMySQL(t *testing.T, charset string) (string, *sql.DB) {
	t.Helper()
	url := schematest.NewMariaDB(t, charset)
	db := schematest.OfMariaDB(t, url)
	exec(t, db, kamailioTables(t, "mysql"))
	return url, db
}

// newSQLite is a file with tables that take any rows; empty: without tables.
func newSQLite(t *testing.T, tables string) (string, *sql.DB) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "chat.db")
	return "sqlite://" + path, openSQL(t, "sqlite", path, tables)
}

func openSQL(t *testing.T, driver, url, script string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if script != "" {
		exec(t, db, script)
	}
	return db
}

// looseTables have neither keys nor limits.
const looseTables = `CREATE TABLE version (table_name TEXT, table_version INTEGER);
	CREATE TABLE imc_rooms (id INTEGER DEFAULT 0, name TEXT, domain TEXT, flag INTEGER);
	CREATE TABLE imc_members (id INTEGER DEFAULT 0, username TEXT, domain TEXT, room TEXT, flag INTEGER);`

func exec(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(kit.Within(t, 5*time.Minute), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// dump lists the rows of both tables by id.
func dump(t *testing.T, db *sql.DB) (list []string) {
	t.Helper()
	for _, query := range []string{"SELECT 'room', id, name, domain, flag FROM imc_rooms ORDER BY id",
		"SELECT room, id, username, domain, flag FROM imc_members ORDER BY id"} {
		rows, err := db.QueryContext(kit.Context(t), query)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var where, name, domain string
			var id, flag int64
			if err := rows.Scan(&where, &id, &name, &domain, &flag); err != nil {
				t.Fatal(err)
			}
			list = append(list, fmt.Sprintf("%s %d %s@%s %d", where, id, name, domain, flag))
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// run copies, and fails the test if that fails.
func run(t *testing.T, o Options) Report {
	t.Helper()
	r, err := Run(kit.Within(t, 5*time.Minute), o)
	if err != nil {
		t.Fatalf("%s -> %s: %v", o.From, o.To, err)
	}
	return r
}

// found lists the findings in short.
func found(r Report) (list []string) {
	for _, f := range r.Findings {
		k := slices.IndexFunc(kinds[:], func(k struct {
			outcome Outcome
			what    string
		}) bool {
			return k.what == f.What
		})
		list = append(list, fmt.Sprintf("%d x %d %s", f.Rows, k, strings.Join(f.Names, ", ")))
	}
	return list
}

// rowsOf makes rows for a test; members are "room user flag".
func rowsOf(rooms map[string]int, members ...string) (all schema.ModuleRows) {
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range rooms {
			if !yield(name) {
				return
			}
		}
	}) {
		all.Rooms = append(all.Rooms, schema.ModuleRoom{ID: int64(len(all.Rooms)) + 1, Name: name, Domain: imcmodule.Domain,
			Flag: rooms[name]})
	}
	for _, m := range members {
		var room, user string
		var flag int
		if _, err := fmt.Sscan(m, &room, &user, &flag); err != nil {
			panic(err)
		}
		all.Members = append(all.Members, schema.ModuleMember{ID: int64(len(all.Members)) + 1, User: user,
			Domain: imcmodule.Domain, Room: uriOf(room, imcmodule.Domain), Flag: flag})
	}
	return all
}
