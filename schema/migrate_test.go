package schema

import (
	"context"
	"errors"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"imcd/engine/store"
	"imcd/schema/schematest"
)

// kamailioSQL is what Kamailio's own scripts make of a PostgreSQL database; it is
// read from the installed package, so that it is the real thing.
func kamailioSQL(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, name := range []string{"standard-create.sql", "imc-create.sql"} {
		text, err := os.ReadFile("/usr/share/kamailio/postgres/" + name)
		if err != nil {
			t.Fatalf("Kamailio's PostgreSQL scripts are needed: %v", err)
		}
		all.Write(text)
	}
	return all.String()
}

func TestSimultaneousFirstStarts(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		const starts = 4
		type opened struct {
			s   *Store
			err error
		}
		results := make(chan opened, starts)
		for range starts {
			go func() {
				s, err := Open(testContext(t), url, Options{})
				results <- opened{s, err}
			}()
		}
		for range starts {
			r := <-results
			if r.err != nil {
				t.Error(r.err)
				continue
			}
			commit(t, r.s, putRoom("r", 0))
			if err := r.s.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestNewerSchemaIsRefused(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		run(t, s, "INSERT INTO imcd_migrations (version_id, is_applied) VALUES (9999, TRUE)")
		_, err := Open(testContext(t), url, Options{})
		if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "9999") {
			t.Errorf("error %v", err)
		}
	})
}

func TestMissingColumnIsNamed(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{RoomsTable: "other_rooms", MembersTable: "other_members"})
		run(t, s, "CREATE TABLE imc_members (id INTEGER, username VARCHAR(64), domain VARCHAR(64), room VARCHAR(64))")
		_, err := Open(testContext(t), url, Options{})
		if err == nil || !strings.Contains(err.Error(), `table "imc_members" (members_table): it has no column "flag"`) ||
			!strings.Contains(err.Error(), "members_table") {
			t.Errorf("error %v", err)
		}
		if info, err := s.dialect.table(testContext(t), s.db, "imc_rooms"); err != nil || len(info.columns) > 0 {
			t.Errorf("half of the tables were made: %v, %v", info, err)
		}
	})
}

func TestTablesHaveConfiguredNames(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		first := open(t, url, Options{})
		commit(t, first, putRoom("r", 0))
		opts := Options{RoomsTable: "Chat_Rooms", MembersTable: "chat_members"}
		s := open(t, url, opts)
		commit(t, s, putRoom("q", 0), putMember("q", "a", 1))
		if n := count(t, s, "SELECT count(*) FROM chat_rooms"); n != 1 {
			t.Errorf("%d rows in chat_rooms", n)
		}
		if got := load(t, first); len(got) != 1 || len(got[at("r").URI()].Members) != 0 {
			t.Errorf("the other tables hold %v", got)
		}
		if n := count(t, s, "SELECT count(*) FROM version WHERE table_version = 1"); n != 5 {
			t.Errorf("%d rows in version, want 5", n)
		}
	})
}

func TestTablesThatVanishedAreMadeAgain(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		run(t, s, "DROP TABLE imc_members")
		commit(t, open(t, url, Options{}), putRoom("r", 0), putMember("r", "a", 1))
	})
}

func TestBadTableNames(t *testing.T) {
	for _, opts := range []Options{{RoomsTable: "a; DROP TABLE x"}, {MembersTable: `"quoted"`}, {RoomsTable: "1st"},
		{RoomsTable: strings.Repeat("x", 33)}, {RoomsTable: "same", MembersTable: "same"}} {
		s, err := Open(t.Context(), "sqlite://"+t.TempDir()+"/x.db", opts)
		if err == nil {
			t.Errorf("%+v is taken", opts)
			_ = s.Close()
		} else if !strings.Contains(err.Error(), "_table") {
			t.Errorf("%+v: %v", opts, err)
		}
	}
}

// TestTakenOverAndFreshSchemasAreEqual also compares both with Kamailio's own.
func TestTakenOverAndFreshSchemasAreEqual(t *testing.T) {
	t.Parallel()
	fresh := open(t, schematest.NewDatabase(t), Options{})
	url := schematest.NewDatabase(t)
	name := regexp.MustCompile(`[^/]+$`).FindString(url)
	if err := schematest.Server(t).Exec(testContext(t), name, kamailioSQL(t)+
		"INSERT INTO imc_rooms (name, domain, flag) VALUES ('r', 'example.org', 1);"+
		"INSERT INTO imc_members (username, domain, room, flag) "+
		"VALUES ('a', 'example.org', 'sip:r@example.org', 1)"); err != nil {
		t.Fatal(err)
	}
	want := map[string]store.RoomState{"sip:r@example.org": {Room: store.RoomRow{Name: at("r"), Flag: 1},
		Members: []store.MemberRow{{Room: at("r"), User: at("a"), Flag: 1}}}}
	taken := open(t, url, Options{})
	if got := load(t, taken); !reflect.DeepEqual(got, want) {
		t.Errorf("taken over: %v", got)
	}
	for what, query := range map[string]string{
		"columns": `SELECT concat_ws(' ', table_name, ordinal_position, column_name, data_type, character_maximum_length,
			is_nullable, column_default) FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1`,
		"constraints": `SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
			WHERE connamespace = 'public'::regnamespace ORDER BY 1`,
		"indexes":  `SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1`,
		"versions": `SELECT table_name || ' ' || table_version FROM version ORDER BY 1`,
	} {
		a, errA := stringsOf(testContext(t), fresh.db, query)
		b, errB := stringsOf(testContext(t), taken.db, query)
		if err := errors.Join(errA, errB); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(a, b) || len(a) == 0 {
			t.Errorf("%s of a fresh database:\n%s\nof one taken over:\n%s", what, strings.Join(a, "\n"), strings.Join(b, "\n"))
		}
	}
}

func TestTableInAnotherSchemaOfThePathIsTakenOver(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	name := regexp.MustCompile(`[^/]+$`).FindString(url)
	if err := schematest.Server(t).Exec(testContext(t), name, kamailioSQL(t)+"CREATE SCHEMA kamailio"); err != nil {
		t.Fatal(err)
	}
	s := open(t, url, Options{}) // search_path: "$user", public
	if n := count(t, s, "SELECT count(*) FROM pg_class WHERE relname = 'imc_rooms'"); n != 1 {
		t.Errorf("%d tables of rooms", n)
	}
}

func TestLockWaitEndsWithItsContext(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		err := s.dialect.lock(testContext(t), s.db, func() error {
			ctx, cancel := context.WithCancel(context.Background())
			failed := make(chan error, 1)
			go func() {
				other, err := Open(ctx, url, Options{})
				if err == nil {
					_ = other.Close()
				}
				failed <- err
			}()
			cancel()
			if err := <-failed; !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestOnlyLargeTablesGetAnIndex(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		has := func(s *Store) bool {
			list := stringsOrFail(t, s, map[string]string{"sqlite": "SELECT name FROM sqlite_master",
				"postgres": "SELECT indexname FROM pg_indexes"}[s.dialect.name()])
			return slices.Contains(list, "imcd_imc_members_room_idx")
		}
		s := open(t, url, Options{})
		run(t, s, `INSERT INTO imc_members (username, domain, room, flag)
			WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)
			SELECT 'u' || i, 'd', 'r', 0 FROM n`)
		if s = open(t, url, Options{}); has(s) {
			t.Error("a small table has the index")
		}
		run(t, s, "INSERT INTO imc_members (username, domain, room, flag) VALUES ('u', 'd', 'r', 0)")
		if s = open(t, url, Options{}); !has(s) {
			t.Error("a large table has no index")
		}
		open(t, url, Options{})
	})
}

func stringsOrFail(t *testing.T, s *Store, query string) []string {
	t.Helper()
	list, err := stringsOf(testContext(t), s.db, query)
	if err != nil {
		t.Fatal(err)
	}
	return list
}
