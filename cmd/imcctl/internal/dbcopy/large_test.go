package dbcopy

import (
	"database/sql"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// TestLarge copies 10^5 rooms with 10^6 members from MySQL to PostgreSQL and back, and says how long that takes beside
// the databases' own dump and load. It takes minutes: make copy-large.
func TestLarge(t *testing.T) {
	if os.Getenv("IMCD_LARGE") == "" {
		t.Skip("a million members take minutes: make copy-large sets IMCD_LARGE")
	}
	first, db := newMySQL(t, "utf8mb4")
	// Members of a room do not lie together: as many of them join and leave, they never do.
	exec(t, db, `INSERT INTO imc_rooms SELECT 2 * seq, CONCAT('chat-', seq), 'example.org', seq % 2 FROM seq_1_to_100000`,
		`INSERT INTO imc_members SELECT seq, CONCAT('user', seq DIV 4), 'example.org',
			CONCAT('sip:chat-', 1 + (seq * 7) % 100000, '@example.org'), IF(seq <= 100000, 1, IF(seq % 9 = 0, 2, 0))
			FROM seq_1_to_1000000`)
	want := sums(t, db)
	pg, last := schematest.NewDatabase(t), schematest.NewMariaDB(t, "utf8mb4")
	there := timed(t, func() { run(t, Options{From: first, To: pg}) })
	back := timed(t, func() { run(t, Options{From: pg, To: last}) })
	if got := sums(t, schematest.OfMariaDB(t, last)); got != want {
		t.Errorf("the rows are not the same: %v, before %v", got, want)
	}
	t.Logf("MySQL to PostgreSQL %v, PostgreSQL to MySQL %v", there, back)
	loaded := schematest.NewMariaDB(t, "utf8mb4")
	file := filepath.Join(t.TempDir(), "dump.sql")
	client := fmt.Sprintf("--no-defaults -S '%s' -u%s -p%s", schematest.MariaDBSocket(), schematest.User,
		schematest.Password)
	mysql := timed(t, func() {
		shell(t, fmt.Sprintf("mariadb-dump %s %s imc_rooms imc_members > %s && mariadb %[1]s %[4]s < %[3]s", client,
			database(first), file, database(loaded)))
	})
	pgLoaded := schematest.NewDatabase(t)
	postgres := timed(t, func() {
		shell(t, fmt.Sprintf("pg_dump -t 'imc_*' '%s' > %s && psql -q '%s' < %[2]s", pg, file, pgLoaded))
	})
	t.Logf("mariadb-dump and mariadb %v, pg_dump and psql %v: the copies took %.1f times as long as a dump and load of "+
		"the target there, %.1f times back", mysql, postgres, there.Seconds()/postgres.Seconds(),
		back.Seconds()/mysql.Seconds())
}

func timed(t *testing.T, work func()) time.Duration {
	t.Helper()
	began := time.Now()
	work()
	return time.Since(began).Round(10 * time.Millisecond)
}

func shell(t *testing.T, script string) {
	t.Helper()
	ctx := kit.Within(t, 15*time.Minute)
	if out, err := osexec.CommandContext(ctx, "bash", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// database is the last part of a URL.
func database(url string) string { return url[strings.LastIndexByte(url, '/')+1:] }

// sums depend on each value of each row.
func sums(t *testing.T, db *sql.DB) (got [2]string) {
	t.Helper()
	for i, query := range []string{
		"SELECT COUNT(*), BIT_XOR(CRC32(CONCAT_WS('|', id, name, domain, flag))) FROM imc_rooms",
		"SELECT COUNT(*), BIT_XOR(CRC32(CONCAT_WS('|', id, username, domain, room, flag))) FROM imc_members",
	} {
		var n, sum int64
		if err := db.QueryRowContext(kit.Within(t, 5*time.Minute), query).Scan(&n, &sum); err != nil {
			t.Fatal(err)
		}
		got[i] = fmt.Sprint(n, " ", sum)
	}
	return got
}
