package schema

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"imcd/engine/store"
	"imcd/schema/schematest"
)

// What somebody else may have made of Kamailio's tables, for both databases.
const (
	oddMembersTable = `CREATE TABLE imc_members (%s, username VARCHAR(128) NOT NULL, domain VARCHAR(64) NOT NULL,
		room VARCHAR(128) NOT NULL, flag INTEGER%s)`
)

// oddTables are tables that imcd cannot work with, or not wholly.
var oddTables = []struct {
	name   string
	sql    map[string]string // by dialect
	fails  string            // in the error of Open; empty: it works
	logs   string            // in the log, if it works
	refuse string            // longest user part that is taken, if it works: the next is refused
}{
	{name: "ids without default", sql: map[string]string{
		"postgres": fmt.Sprintf(oddMembersTable, "id INTEGER NOT NULL", ""), "sqlite": fmt.Sprintf(oddMembersTable,
			"id INT NOT NULL", "")},
		fails: `(members_table): column "id" has no default, so no row can be added`},
	{name: "ids that may be NULL", sql: map[string]string{
		"postgres": fmt.Sprintf(oddMembersTable, "id BIGINT", ""), "sqlite": fmt.Sprintf(oddMembersTable, "id BIGINT", "")},
		fails: `column "id" has no default`},
	{name: "another column", sql: map[string]string{
		"postgres": fmt.Sprintf(oddMembersTable, "id SERIAL", ", tenant INTEGER NOT NULL"),
		"sqlite":   fmt.Sprintf(oddMembersTable, "id INTEGER PRIMARY KEY", ", tenant INTEGER NOT NULL")},
		fails: `column "tenant", which imcd does not know, is NOT NULL and has no default: ALTER TABLE imc_members`},
	{name: "another column with a default", sql: map[string]string{
		"postgres": fmt.Sprintf(oddMembersTable, "id SERIAL", ", tenant INTEGER NOT NULL DEFAULT 1"),
		"sqlite":   fmt.Sprintf(oddMembersTable, "id INTEGER PRIMARY KEY", ", tenant INTEGER NOT NULL DEFAULT 1")},
		logs: `"columns":["domain","room","username"],"message":"a unique index that Kamailio makes is missing`},
	{name: "columns that a domain or a trigger fills in", sql: map[string]string{
		"postgres": `CREATE DOMAIN tenants AS INTEGER DEFAULT 7; ` +
			fmt.Sprintf(oddMembersTable, "id INTEGER NOT NULL", ", tenant tenants NOT NULL, made TIMESTAMP NOT NULL") +
			`; CREATE SEQUENCE ids; CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS
				$$ BEGIN NEW.id = nextval('ids'); NEW.made = now(); RETURN NEW; END $$;
			CREATE TRIGGER fill BEFORE INSERT ON imc_members FOR EACH ROW EXECUTE FUNCTION fill()`}},
	{name: "columns that a domain fills in", sql: map[string]string{
		"postgres": `CREATE DOMAIN tenants AS INTEGER DEFAULT 7; ` +
			fmt.Sprintf(oddMembersTable, "id SERIAL", ", tenant tenants NOT NULL")}},
	{name: "columns that no trigger fills in", sql: map[string]string{
		"postgres": fmt.Sprintf(oddMembersTable, "id SERIAL", ", tenant INTEGER NOT NULL") +
			`; CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
			CREATE TRIGGER look BEFORE UPDATE ON imc_members FOR EACH ROW EXECUTE FUNCTION look();
			CREATE TRIGGER off BEFORE INSERT ON imc_members FOR EACH ROW EXECUTE FUNCTION look();
			ALTER TABLE imc_members DISABLE TRIGGER off`},
		fails: `column "tenant", which imcd does not know, is NOT NULL`},
	{name: "a view", sql: map[string]string{
		"postgres": fmt.Sprintf(oddMembersTable, "id SERIAL", "") +
			`; ALTER TABLE imc_members RENAME TO real; CREATE VIEW imc_members AS SELECT * FROM real`,
		"sqlite": fmt.Sprintf(oddMembersTable, "id INTEGER PRIMARY KEY", "") +
			`; ALTER TABLE imc_members RENAME TO real; CREATE VIEW imc_members AS SELECT * FROM real`},
		fails: `table "imc_members" (members_table): it is a view, imcd needs a table`},
	{name: "padded names", sql: map[string]string{
		"postgres": `CREATE TABLE imc_members (id SERIAL, username CHAR(64), domain VARCHAR(64), room VARCHAR(64),
			flag INTEGER)`},
		fails: `column "username" has the type bpchar, which must be one of varchar, text, citext`},
	{name: "text flags", sql: map[string]string{
		"postgres": `CREATE TABLE imc_members (id SERIAL, username TEXT, domain TEXT, room TEXT, flag TEXT)`},
		fails: `column "flag" has the type text, which must be one of int2, int4, int8`},
	{name: "narrow columns", sql: map[string]string{
		"postgres": `CREATE TABLE imc_members (id SERIAL, username VARCHAR(32), domain VARCHAR(64), room VARCHAR(64),
			flag INTEGER,
			UNIQUE (room, username, domain))`,
		"sqlite": `CREATE TABLE imc_members (id INTEGER PRIMARY KEY, username VARCHAR(32) CHECK (length(username) <= 32),
			domain TEXT, room TEXT, flag INTEGER, UNIQUE (room, username, domain))`},
		refuse: strings.Repeat("u", 32)},
	{name: "other types", sql: map[string]string{
		"postgres": `CREATE DOMAIN small AS SMALLINT; CREATE EXTENSION citext;
			CREATE TABLE imc_members (id BIGINT GENERATED ALWAYS AS IDENTITY,
			username CITEXT, domain TEXT, room VARCHAR, flag small, UNIQUE (room, username, domain))`,
		"sqlite": `CREATE TABLE imc_members (ID INTEGER PRIMARY KEY AUTOINCREMENT, UserName TEXT COLLATE NOCASE, domain,
			room, flag,
			UNIQUE (room, username, domain))`}},
}

func TestOddTables(t *testing.T) {
	for _, odd := range oddTables {
		t.Run(odd.name, func(t *testing.T) {
			onEach(t, func(t *testing.T, url string) {
				statement := odd.sql[strings.SplitN(url, ":", 2)[0]]
				if statement == "" {
					return // it has no such thing
				}
				other := open(t, url, Options{RoomsTable: "other_rooms", MembersTable: "other_members"})
				run(t, other, statement)
				var log logBuffer
				s, err := Open(testContext(t), url, Options{Log: log.logger()})
				if err == nil {
					t.Cleanup(func() { _ = s.Close() })
				}
				if odd.fails != "" {
					if !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), odd.fails) || strings.Contains(err.Error(), "\n") {
						t.Errorf("error %v, want %s", err, odd.fails)
					}
					if _, err := Inspect(testContext(t), url, Options{}); !errors.Is(err, ErrUnfit) {
						t.Errorf("inspected: %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(log.String(), odd.logs) {
					t.Errorf("the log does not say %s:\n%s", odd.logs, log.String())
				}
				commit(t, s, putRoomID("r", 7), putMember("r", "a", 1), putMember("r", "B", 0))
				commit(t, s, putMember("r", "a", 2), deleteMember("r", "B"), putMessage(7, 1, nil), putCursor(7, "a", 1))
				if odd.refuse != "" {
					commit(t, s, putMember("r", odd.refuse, 0))
					longer := []store.Change{putMember("r", odd.refuse+"u", 0)}
					if err := s.Commit(testContext(t), store.Fence{}, longer); !errors.Is(err, ErrInvalid) {
						t.Errorf("a longer name: %v", err)
					}
				}
				if got := users(load(t, s)[at("r").URI()]); len(got) == 0 || got[0] != "a" {
					t.Errorf("members %v", got)
				}
			})
		})
	}
}

// Rows that cannot be used are left out, with a line that names them, and stay; those
// of the same name that are there twice count once.
func TestOddRows(t *testing.T) {
	long := strings.Repeat("l", 65)
	onEach(t, func(t *testing.T, url string) {
		other := open(t, url, Options{RoomsTable: "other_rooms", MembersTable: "other_members"})
		sqlite := other.dialect.name() == "sqlite"
		auto := map[bool]string{true: "", false: "GENERATED BY DEFAULT AS IDENTITY"}[sqlite]
		run(t, other, `CREATE TABLE imc_rooms (id INTEGER PRIMARY KEY `+auto+`, name VARCHAR(128), domain VARCHAR(128),
			flag INTEGER)`,
			`CREATE TABLE imc_members (id INTEGER PRIMARY KEY `+auto+`, username VARCHAR(128), domain VARCHAR(128),
				room VARCHAR(256), flag INTEGER)`,
			`INSERT INTO imc_rooms (name, domain, flag) VALUES ('r', 'example.org', NULL), ('r', 'example.org', 0),
				('`+long+`', 'example.org', 0),
				('my room', 'example.org', 0), ('r', 'example.org', 2), ('`+strings.Repeat("x", 60)+`', 'example.org', 0),
					(NULL, 'example.org', 0)`,
			`INSERT INTO imc_members (username, domain, room, flag) VALUES ('a', 'example.org', 'sip:r@example.org', 1),
				('`+long+`', 'example.org', 'sip:r@example.org', 0), ('n', 'example.org', 'sip:r@example.org', NULL),
				('', 'example.org', 'sip:r@example.org', 0), ('a b', 'example.org', 'sip:r@example.org', 0), ('a', 'b c',
					'sip:r@example.org', 0),
				('n', 'example.org', 'sip:r@example.org', 0), ('c', 'example.org', 'sip:`+long+`@example.org', 0)`)
		var log logBuffer
		s := open(t, url, Options{Log: log.logger()})
		rooms := load(t, s)
		if got := users(rooms[at("r").URI()]); len(rooms) != 1 || !slices.Equal(got, []string{"a", "n"}) {
			t.Errorf("loaded %v", rooms)
		}
		for _, words := range []string{`"rows":4,"table":"imc_rooms","names":["sip:` + long +
			`@example.org","sip:my room@example.org"`,
			`"rows":4,"table":"imc_members","names":["sip:` + long + `@example.org in sip:r@example.org"`,
			`"sip:a b@example.org in`,
			`rows that are there twice count once`} {
			if !strings.Contains(log.String(), words) {
				t.Errorf("the log does not say %s:\n%s", words, log.String())
			}
		}
		// They do not get into the way of what is stored.
		commit(t, s, putRoomID("r", 7), putMember("r", "n", 2), putMessage(7, 1, nil), putCursor(7, "n", 1), putCursor(7,
			"a", 1))
		commit(t, s, putRoom("r", 1), putMember("r", "z", 0))
		rooms = load(t, s)
		if r := rooms[at("r").URI()]; !slices.Equal(users(r), []string{"a", "n", "z"}) || r.Room.Flag != 1 ||
			r.Room.Seq != 1 || r.Members[1].Flag != 2 {
			t.Errorf("then %+v", r)
		}
		commit(t, s, deleteMember("r", "n"))
		if got := users(load(t, s)[at("r").URI()]); !slices.Equal(got, []string{"a", "z"}) {
			t.Errorf("then %v", got)
		}
	})
}

// After a copy of the rows the sequences of ids stand at their beginning.
func TestSequenceBehindItsIDs(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	first := open(t, url, Options{})
	run(t, first, `INSERT INTO imc_rooms (id, name, domain, flag) VALUES (1, 'q', 'example.org', 0), (5, 'r',
		'example.org', 0)`,
		`INSERT INTO imc_members (id, username, domain, room, flag) VALUES (1, 'a', 'example.org', 'sip:r@example.org', 1)`)
	var log logBuffer
	s := open(t, url, Options{Log: log.logger()})
	commit(t, s, putRoom("s", 0), putMember("s", "b", 1), putMember("r", "b", 0))
	if n := strings.Count(log.String(), "was moved"); n != 2 {
		t.Errorf("the log says it %d times", n)
	}
	open(t, url, Options{Log: log.logger()})
	if n := strings.Count(log.String(), "was moved"); n != 2 {
		t.Errorf("it was moved again")
	}
}

// A role that may not write to the module's tables hears which rights it lacks.
func TestMissingRights(t *testing.T) {
	t.Parallel()
	pg := schematest.New(t, schematest.Options{})
	owner := open(t, pg.URL("postgres"), Options{})
	run(t, owner, "CREATE ROLE chat LOGIN PASSWORD 'chat'", "GRANT ALL ON ALL TABLES IN SCHEMA public TO chat",
		"GRANT ALL ON SCHEMA public TO chat")
	url := regexp.MustCompile(`//[^@]*@`).ReplaceAllString(pg.URL("postgres"), "//chat:chat@")
	open1 := func() error {
		s, err := Open(testContext(t), url, Options{})
		if err == nil {
			err = s.Close()
		}
		return err
	}
	if err := open1(); !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(),
		`GRANT USAGE, SELECT, UPDATE ON SEQUENCE public.imc_rooms_id_seq TO "chat"`) {
		t.Errorf("without sequences: %v", err)
	}
	run(t, owner, "REVOKE INSERT, DELETE ON imc_rooms FROM chat")
	if err := open1(); !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(),
		`the role chat may not INSERT, DELETE: GRANT INSERT, DELETE ON imc_rooms TO "chat"`) {
		t.Errorf("without rights: %v", err)
	}
	run(t, owner, "GRANT ALL ON ALL TABLES IN SCHEMA public TO chat",
		"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO chat")
	if err := open1(); err != nil {
		t.Errorf("with rights: %v", err)
	}
	run(t, owner, "INSERT INTO imc_rooms (id, name, domain, flag) VALUES (9, 'q', 'example.org', 0)")
	if err := open1(); !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(),
		"SELECT setval('public.imc_rooms_id_seq', 9)") {
		t.Errorf("with a sequence that it may not move: %v", err)
	}
}

func TestUsableNames(t *testing.T) {
	for name, want := range map[[2]string]bool{
		{"alice", "example.org"}: true, {"+49-89.(1)!~*'&=$,;?/%20", "[::1]"}: true, {"é", "x"}: true,
		{strings.Repeat("é", 64), strings.Repeat("x", 64)}: true, {strings.Repeat("é", 65), "x"}: false,
		{strings.Repeat("x", 65), "x"}: false, {"a", strings.Repeat("x", 65)}: false, {"", "x"}: false, {"x", ""}: false,
		{"a b", "x"}: false, {"a:b", "x"}: false, {"a@b", "x"}: false, {"a<b", "x"}: false, {"a\"b", "x"}: false,
		{"a\r\n", "x"}: false,
		{"a", "x y"}:   false, {"a", "x>"}: false, {"a", "x;y"}: false, {"a\xff", "x"}: false, {"a\x00", "x"}: false, {"a",
			"x\x7f"}: false,
	} {
		if got := usableName(name[0], name[1]); got != want {
			t.Errorf("%q@%q: %t", name[0], name[1], got)
		}
	}
}
