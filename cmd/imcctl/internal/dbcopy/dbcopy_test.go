package dbcopy

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imcd/evapi/evapitest/kit"
	"imcd/schema"
	"imcd/schema/schematest"
)

// fillMySQL adds some rooms with members, one of them in several rooms.
const fillMySQL = `INSERT INTO imc_rooms (id, name, domain, flag) VALUES
		(2, 'chat-a', 'x.org', 0), (5, 'chat-é', 'x.org', 1),
		(9, 'Chat-%20b', 'y.org', 0);
	INSERT INTO imc_members (id, username, domain, room, flag) VALUES (3, 'alice', 'x.org', 'sip:chat-a@x.org', 1),
		(7, 'bob', 'x.org', 'sip:chat-a@x.org', 2), (8, 'alice', 'x.org', 'sip:chat-é@x.org', 1),
		(11, 'Żaneta', 'x.org', 'sip:chat-é@x.org', 4), (12, 'alice', 'x.org', 'sip:Chat-%20b@y.org', 17)`

const oldMember = `INSERT INTO imc_members (id, username, domain, room, flag)
	VALUES (1, 'old', 'x.org', 'sip:old@x.org', 1)`

// TestSameRows: MySQL, PostgreSQL, SQLite and MySQL have the same rows, ids included, and the next id is free.
func TestSameRows(t *testing.T) {
	t.Parallel()
	first, firstDB := newMySQL(t, "utf8mb4")
	exec(t, firstDB, fillMySQL)
	want := dump(t, firstDB)
	pg := schematest.NewDatabase(t)
	file := filepath.Join(t.TempDir(), "chat.db")
	last := schematest.NewMariaDB(t, "utf8mb4")
	lite := "sqlite://" + file
	for _, o := range []Options{{From: first, To: pg}, {From: pg, To: lite}, {From: lite, To: last}} {
		if r := run(t, o); len(r.Findings) > 0 || r.Read != (Counts{3, 5}) || r.Written != r.Read {
			t.Errorf("%+v", r)
		}
	}
	pgDB := openSQL(t, "postgres", pg+"?sslmode=disable", "")
	liteDB := openSQL(t, "sqlite", file, "")
	lastDB := schematest.OfMariaDB(t, last)
	if got := dump(t, pgDB); !slices.Equal(got, want) {
		t.Errorf("PostgreSQL has\n%q, want\n%q", got, want)
	}
	if got := dump(t, liteDB); !slices.Equal(got, want) {
		t.Errorf("SQLite has\n%q, want\n%q", got, want)
	}
	if got := dump(t, lastDB); !slices.Equal(got, want) {
		t.Errorf("MySQL has\n%q, want\n%q", got, want)
	}
	for name, db := range map[string]*sql.DB{"PostgreSQL": pgDB, "SQLite": liteDB, "MySQL": lastDB} {
		exec(t, db, "INSERT INTO imc_members (username, domain, room, flag) VALUES ('eve', 'x.org', 'sip:chat-a@x.org', 0)")
		if got := dump(t, db); !strings.HasPrefix(got[len(got)-1], "sip:chat-a@x.org 13 eve") {
			t.Errorf("%s: the next id is not that after the highest: %q", name, got)
		}
	}
	var versions int
	err := lastDB.QueryRowContext(kit.Context(t), `SELECT COUNT(*) FROM version
		WHERE table_name IN ('imc_rooms', 'imc_members') AND table_version = 1`).Scan(&versions)
	if err != nil || versions != 2 {
		t.Errorf("%d rows in version, %v", versions, err)
	}
}

// TestTargetWithRows: they stay, unless they are to be replaced.
func TestTargetWithRows(t *testing.T) {
	t.Parallel()
	from, db := newMySQL(t, "utf8mb4")
	exec(t, db, fillMySQL)
	want := dump(t, db)
	to, toDB := newMySQL(t, "utf8mb4")
	pg := schematest.NewDatabase(t)
	run(t, Options{From: from, To: pg})
	pgDB := openSQL(t, "postgres", pg+"?sslmode=disable", "")
	file := filepath.Join(t.TempDir(), "chat.db")
	run(t, Options{From: from, To: "sqlite://" + file})
	liteDB := openSQL(t, "sqlite", file, "")
	exec(t, toDB, oldMember)
	exec(t, pgDB, oldMember)
	exec(t, liteDB, oldMember)
	for _, target := range []string{to, pg, "sqlite://" + file} {
		db := pgDB
		if target == to {
			db = toDB
		} else if target != pg {
			db = liteDB
		}
		before := dump(t, db)
		if _, err := Run(kit.Context(t), Options{From: from, To: target}); !errors.Is(err, schema.ErrNotEmpty) {
			t.Errorf("%s: %v", target, err)
		}
		r := run(t, Options{From: from, To: target, DryRun: true, Replace: true})
		if got := dump(t, db); !slices.Equal(got, before) || r.There.Members == 0 || r.Written != (Counts{3, 5}) {
			t.Errorf("%s: a dry run or a refused copy changes the rows: %q, %+v", target, got, r)
		}
		run(t, Options{From: from, To: target, Replace: true})
		if got := dump(t, db); !slices.Equal(got, want) {
			t.Errorf("%s has\n%q, want\n%q", target, got, want)
		}
	}
}

// TestDryRun makes nothing.
func TestDryRun(t *testing.T) {
	t.Parallel()
	from, db := newMySQL(t, "utf8mb4")
	exec(t, db, fillMySQL)
	dir := t.TempDir()
	pg, other := schematest.NewDatabase(t), schematest.NewMariaDB(t, "")
	for _, to := range []string{"sqlite://" + filepath.Join(dir, "no", "chat.db"), pg, other} {
		if r := run(t, Options{From: from, To: to, DryRun: true}); r.Written != (Counts{3, 5}) || r.There != (Counts{}) {
			t.Errorf("%s: %+v", to, r)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("made %v, %v", left, err)
	}
	for _, to := range []string{pg, other} {
		if _, err := Run(kit.Context(t), Options{From: to, To: from, DryRun: true}); err == nil ||
			!strings.Contains(err.Error(), "has no table imc_rooms") {
			t.Errorf("%s: %v", to, err)
		}
	}
}

// TestHeld: an imcd that runs is not disturbed.
func TestHeld(t *testing.T) {
	t.Parallel()
	from, db := newMySQL(t, "utf8mb4")
	exec(t, db, fillMySQL)
	for _, held := range []string{schematest.NewDatabase(t), "sqlite://" + filepath.Join(t.TempDir(), "chat.db")} {
		s, err := schema.Open(kit.Context(t), held, schema.Options{Lease: &schema.Lease{}})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.OwnNow(kit.Context(t)); err != nil {
			t.Fatal(err)
		}
		for _, o := range []Options{{From: from, To: held}, {From: held, To: from, Replace: true}} {
			if _, err := Run(kit.Context(t), o); !errors.Is(err, schema.ErrHeld) {
				t.Errorf("%+v: %v", o, err)
			}
			o.DryRun = true
			run(t, o)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		run(t, Options{From: from, To: held})
	}
}

// TestMySQLSpelling: MySQL finds a room by another spelling, if its collation does.
func TestMySQLSpelling(t *testing.T) {
	t.Parallel()
	from, db := newMySQL(t, "utf8mb4")
	exec(t, db, "INSERT INTO imc_rooms (name, domain, flag) VALUES ('Garden', 'x.org', 0)",
		"INSERT INTO imc_members (username, domain, room, flag) VALUES ('alice', 'x.org', 'sip:garden@X.org', 1)")
	to := schematest.NewDatabase(t)
	if r := run(t, Options{From: from, To: to}); r.Written != (Counts{1, 1}) || len(r.Findings) != 1 ||
		r.Findings[0].What != kinds[respelt].what {
		t.Errorf("%+v", r)
	}
	// The sequence of the id stands behind it.
	exec(t, openSQL(t, "postgres", to+"?sslmode=disable", ""),
		"INSERT INTO imc_members (username, domain, room, flag) VALUES ('eve', 'x.org', 'sip:Garden@x.org', 0)")
	exec(t, db, "ALTER TABLE imc_members MODIFY room VARCHAR(64) COLLATE utf8mb4_bin NOT NULL")
	if r := run(t, Options{From: from, To: to, DryRun: true, Replace: true}); r.Written != (Counts{1, 0}) {
		t.Errorf("a collation that compares bytes: %+v", r)
	}
}

// TestOpenSIPS: its tables have other types and numbers of version, which stay.
func TestOpenSIPS(t *testing.T) {
	t.Parallel()
	from := schematest.NewMariaDB(t, "utf8mb4")
	db := schematest.OfMariaDB(t, from)
	const tables = `CREATE TABLE version (table_name CHAR(32) NOT NULL, table_version INT UNSIGNED DEFAULT 0 NOT NULL,
			CONSTRAINT t_name_idx UNIQUE (table_name)) ENGINE=InnoDB;
		CREATE TABLE imc_rooms (id INT(10) UNSIGNED AUTO_INCREMENT PRIMARY KEY NOT NULL, name CHAR(64) NOT NULL,
			domain CHAR(64) NOT NULL, flag INT(11) NOT NULL, CONSTRAINT name_domain_idx UNIQUE (name, domain)) ENGINE=InnoDB;
		CREATE TABLE imc_members (id INT(10) UNSIGNED AUTO_INCREMENT PRIMARY KEY NOT NULL, username CHAR(64) NOT NULL,
			domain CHAR(64) NOT NULL, room CHAR(64) NOT NULL, flag INT(11) NOT NULL,
			CONSTRAINT account_room_idx UNIQUE (username, domain, room)) ENGINE=InnoDB;
		INSERT INTO version VALUES ('imc_rooms', 2), ('imc_members', 2);`
	exec(t, db, tables, fillMySQL)
	want := dump(t, db)
	pg := schematest.NewDatabase(t)
	run(t, Options{From: from, To: pg})
	if got := dump(t, openSQL(t, "postgres", pg+"?sslmode=disable", "")); !slices.Equal(got, want) {
		t.Errorf("PostgreSQL has\n%q, want\n%q", got, want)
	}
	run(t, Options{From: pg, To: from, Replace: true})
	var versions string
	err := db.QueryRowContext(kit.Context(t),
		"SELECT GROUP_CONCAT(table_name, ' ', table_version ORDER BY table_name) FROM version").Scan(&versions)
	if got := dump(t, db); err != nil || !slices.Equal(got, want) || versions != "imc_members 2,imc_rooms 2" {
		t.Errorf("back\n%q, want\n%q; %s, %v", got, want, versions, err)
	}
}

// TestUnfitMySQL names what is wrong with tables of MySQL, and leaves the rows as they were.
func TestUnfitMySQL(t *testing.T) {
	t.Parallel()
	from, db := newMySQL(t, "utf8mb4")
	exec(t, db, "ALTER TABLE imc_members MODIFY username VARCHAR(64) COLLATE utf8mb4_bin",
		strings.ReplaceAll(fillMySQL, "'bob'", "'álice'"))
	for change, want := range map[string]string{
		"":                                      "takes two names for one",
		"ALTER TABLE imc_rooms ENGINE = MyISAM": "ALTER TABLE imc_rooms ENGINE = InnoDB",
		"ALTER TABLE imc_members CONVERT TO CHARACTER SET latin1 COLLATE latin1_bin": "CONVERT TO CHARACTER SET utf8mb4",
		"ALTER TABLE imc_rooms MODIFY name VARCHAR(3) NOT NULL":                      "narrower",
		"ALTER TABLE imc_rooms DROP flag":                                            "it has no column flag",
		"ALTER TABLE imc_rooms MODIFY flag VARCHAR(3)":                               "column flag has the type varchar",
		"ALTER TABLE imc_rooms ADD more INT NOT NULL":                                "column more, which imc.so does not",
		"DROP TABLE imc_rooms; CREATE VIEW imc_rooms AS SELECT 1 AS id":              "must be a table",
	} {
		to, db := newMySQL(t, "utf8mb4")
		exec(t, db, oldMember)
		if change != "" {
			exec(t, db, change)
		}
		_, err := Run(kit.Context(t), Options{From: from, To: to, Replace: true})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", change, err)
		}
		var n int
		err = db.QueryRowContext(kit.Context(t), "SELECT COUNT(*) FROM imc_members").Scan(&n)
		if err != nil || n != 1 {
			t.Errorf("%s: %d rows, %v", change, n, err)
		}
	}
}

// TestErrors have no password.
func TestErrors(t *testing.T) {
	t.Parallel()
	from, _ := newMySQL(t, "")
	for url, want := range map[string]string{
		"mysql://kamailio:secret@127.0.0.1:1/d":                           "connection refused",
		strings.Replace(from, ":"+schematest.Password+"@", ":secret@", 1): "Access denied",
		"oracle://u:secret@h/d":                                           "neither sqlite nor postgres",
		"mysql://u:secret@h/d?x=":                                         "is no option",
		from + "x":                                                        "Unknown database",
	} {
		for _, o := range []Options{{From: url, To: "sqlite:///nowhere"}, {From: from, To: url}} {
			_, err := Run(kit.Context(t), o)
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %v", url, err)
			}
		}
	}
	if _, err := Run(kit.Context(t), Options{From: from, To: from + "?charset=latin1"}); !errors.Is(err, ErrSame) {
		t.Error(err)
	}
}
