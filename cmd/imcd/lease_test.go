package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"imcd/cmd/imcd/imcdtest"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// restartBound is how long an imcd may take to start after another one was killed,
// or has stopped.
const restartBound = 2 * time.Second

// waits starts an imcd on a PostgreSQL that first works with: it says who that is, and is a spare until it
// is stopped.
func waits(t *testing.T, url string, first *imcdtest.Imcd) {
	t.Helper()
	spare, err := imcdtest.Start(kit.Context(t), imcdtest.Options{Dir: bin, Name: "spare", Secret: "x",
		Evapi: "127.0.0.1:1", DBURL: url})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []string{"another imcd has the rooms", fmt.Sprint("pid ", first.Pid(), " on host ")} {
		if !strings.Contains(spare.Log(), w) {
			t.Errorf("it does not say %q:\n%s", w, spare.Log())
		}
	}
	if err := spare.Stop(); err != nil {
		t.Error(err)
	}
}

// TestSecondImcd: of two imcd on one database the second says which one is there, and
// ends, or waits on PostgreSQL. The first one's end, however it comes, lets the next one start at once.
func TestSecondImcd(t *testing.T) {
	pg := schematest.New(t, schematest.Options{})
	for database, url := range map[string]string{"sqlite": "sqlite://" + filepath.Join(t.TempDir(), "x.db"),
		"postgres": pg.URL("postgres")} {
		t.Run(database, func(t *testing.T) {
			first := startImcd(t, imcdtest.Options{Secret: "x", Evapi: "127.0.0.1:1", DBURL: url})
			refused := func(words ...string) {
				t.Helper()
				code, _, stderr := imcd(t, nil, "--evapi_secret=x", "--rpc_listen=", "--http_listen=", "--db_url", url)
				if code != 1 || strings.Count(stderr, "\n") != 1 {
					t.Errorf("exit code %d, %q", code, stderr)
				}
				for _, w := range words {
					if !strings.Contains(stderr, w) {
						t.Errorf("%q does not say %q", stderr, w)
					}
				}
			}
			if database == "sqlite" {
				refused("db_url: ", fmt.Sprint("pid ", first.Pid(), " on host "), "http_listen "+first.HTTPAddr())
			} else {
				waits(t, url, first)
			}
			if code, _, stderr := imcd(t, nil, "-check", "--evapi_secret=x", "--db_url", url); code != 0 {
				t.Errorf("-check: exit code %d, %s", code, stderr)
			}
			for _, end := range []func() error{first.Kill, first.Stop} {
				if err := end(); err != nil {
					t.Fatal(err)
				}
				startsSoon(t, first)
			}
			if err := first.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			if database == "sqlite" { // on PostgreSQL see TestFrozenImcdBecomesASpare
				refused(fmt.Sprint("pid ", first.Pid()))
			}
			if err := first.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestFrozenImcdBecomesASpare: an imcd that does nothing for a second is not waited
// for; when it wakes up, it is a spare, in the same process, and takes over in its turn.
func TestFrozenImcdBecomesASpare(t *testing.T) {
	pg := schematest.New(t, schematest.Options{})
	opts := imcdtest.Options{Secret: "x", Evapi: "127.0.0.1:1", DBURL: pg.URL("postgres"), AnyExit: true}
	first := startImcd(t, opts)
	if err := first.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	second := startImcd(t, opts)
	if err := first.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "it is a spare", func() bool {
		_, after, _ := strings.Cut(first.Log(), "imcd starts again, as a spare")
		return strings.Contains(after, "another imcd has the rooms") &&
			strings.Contains(after, fmt.Sprint("pid ", second.Pid(), " on host "))
	})
	if err := second.Kill(); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "it has the rooms again", func() bool { return strings.Count(first.Log(), "imcd is running") == 2 })
}

// TestUnfitDatabases: what imcd cannot work with is said in one line.
func TestUnfitDatabases(t *testing.T) {
	pg := schematest.New(t, schematest.Options{})
	for database, c := range map[string]struct{ makes, fills, names string }{
		"latin1": {makes: "TEMPLATE template0 LOCALE 'C' ENCODING 'LATIN1'", names: "its encoding is LATIN1, not UTF8"},
		"a_view": {fills: "CREATE VIEW imc_rooms AS SELECT 1 AS id",
			names: `table "imc_rooms" (rooms_table): it is a view`},
	} {
		if err := pg.Exec(kit.Context(t), "postgres", "CREATE DATABASE "+database+" "+c.makes); err != nil {
			t.Fatal(err)
		}
		if err := pg.Exec(kit.Context(t), database, c.fills); err != nil {
			t.Fatal(err)
		}
		code, _, stderr := imcd(t, nil, "--evapi_secret=x", "--db_url", pg.URL(database))
		if code != 1 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "db_url: ") ||
			!strings.Contains(stderr, c.names) {
			t.Errorf("%s: exit code %d, %q, should be a line that says %q", database, code, stderr, c.names)
		}
	}
}

// startsSoon starts an imcd that has ended: nobody waits for what it held.
func startsSoon(t *testing.T, i *imcdtest.Imcd) {
	t.Helper()
	began := time.Now()
	if err := i.Start(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > restartBound {
		t.Errorf("the start took %v", took)
	}
}

// TestBehindPgBouncer: imcd works behind a pooler in transaction mode, is killed there
// and started again, and lets a second one wait, which may come by another way.
func TestBehindPgBouncer(t *testing.T) {
	pg := schematest.New(t, schematest.Options{})
	pool := schematest.NewPgBouncer(t, pg)
	k, first := startBoth(t, imcdtest.Options{DBURL: pool.URL("postgres")})
	alice := user(t, k, "alice")
	kit.Say(t, alice, lobby, "#create", 200)
	for range 2 {
		for range 5 {
			kit.Say(t, alice, lobby, "hello", 200)
		}
		for _, url := range []string{pool.URL("postgres"), pg.URL("postgres")} {
			waits(t, url, first)
		}
		if err := first.Kill(); err != nil {
			t.Fatal(err)
		}
		startsSoon(t, first)
		if err := first.AwaitReady(kit.Context(t)); err != nil {
			t.Fatal(err)
		}
	}
	kit.Say(t, alice, lobby, "there again", 200)
}
