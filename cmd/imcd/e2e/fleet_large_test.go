package e2e

import (
	"database/sql"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest/kit"
	"imcd/schema"
	"imcd/schema/schematest"
)

const (
	largeRooms   = 10000
	largeMembers = 100 // of each
	// largeLoad is how long a survivor of three imcd with all these may take to load its share of the rooms.
	largeLoad = 1200 * time.Millisecond
)

// TestFleetLarge: one of three imcd with 10^6 members is killed, and the others load its rooms. It says how long that
// takes, and how much memory a member needs. It takes minutes, and the whole machine: make fleet-large.
func TestFleetLarge(t *testing.T) {
	if os.Getenv("IMCD_LARGE") == "" {
		t.Skip("a million members take minutes: make fleet-large sets IMCD_LARGE")
	}
	pg := schematest.New(t, schematest.Options{})
	url := pg.URL("postgres")
	fillLarge(t, url)
	f := &fleet{}
	for i := range 3 {
		opts := stack.Options{Binary: plain.Path(t), DBURL: url}
		if i > 0 {
			opts.Beside, opts.Spare = f.imcd[0], true
		}
		f.imcd = append(f.imcd, start(t, "", opts))
	}
	f.shares(t, 22, 21, 21)
	f.largeAnswer(t)
	f.weigh(t)
	var before []int // lines of the log
	for _, s := range f.imcd {
		before = append(before, strings.Count(s.LogTail(), "has more rooms"))
	}
	began := time.Now()
	if err := f.imcd[2].Kill9(); err != nil {
		t.Fatal(err)
	}
	f.shares(t, 32, 32, 0)
	t.Logf("the shards have owners %v after the kill", time.Since(began).Round(time.Millisecond))
	f.largeAnswer(t)
	t.Logf("all rooms answer %v after the kill", time.Since(began).Round(time.Millisecond))
	for i, s := range f.imcd[:2] {
		took, shards := loadedSince(s.LogTail(), before[i])
		t.Logf("imcd %d has loaded %d shards in %v", i, shards, took.Round(time.Millisecond))
		if took > largeLoad {
			t.Errorf("imcd %d took %v to load its share", i, took)
		}
	}
	f.weigh(t)
}

// largeAnswer waits until all rooms are loaded somewhere.
func (f *fleet) largeAnswer(t *testing.T) {
	t.Helper()
	kit.Until(t, kit.Within(t, fleetTime), "all rooms answer", func() bool {
		var stats struct {
			Rooms int `json:"active_rooms"`
		}
		return f.imcd[0].Call(kit.Context(t), "imc.stats", []any{}, &stats) == nil && stats.Rooms == largeRooms
	})
}

// fillLarge makes the rooms. Members of a room do not lie together: as many of them join and leave, they never do.
func fillLarge(t *testing.T, url string) {
	t.Helper()
	s, err := schema.Open(kit.Context(t), url, schema.Options{Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() // the tables are there
	db, err := sql.Open("postgres", url+"?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() // all is committed
	const n = largeRooms * largeMembers
	for _, query := range []string{
		`INSERT INTO imc_rooms (name, domain, flag) SELECT 'chat-' || i, 'x.org', 0 FROM generate_series(1, %d) i`,
		`INSERT INTO imcd_rooms (id, room) SELECT i, 'sip:chat-' || i || '@x.org' FROM generate_series(1, %d) i`,
	} {
		if _, err := db.ExecContext(kit.Within(t, fleetTime), fmt.Sprintf(query, largeRooms)); err != nil {
			t.Fatal(err)
		}
	}
	for _, query := range []string{
		fmt.Sprintf(`INSERT INTO imc_members (username, domain, room, flag) SELECT 'user' || i / 4, 'x.org',
			'sip:chat-' || 1 + (i::bigint * 7) %% %d || '@x.org', CASE WHEN i < %[1]d THEN 1 ELSE 0 END
			FROM generate_series(0, %d) i`, largeRooms, n-1), "VACUUM ANALYZE",
	} {
		if _, err := db.ExecContext(kit.Within(t, fleetTime), query); err != nil {
			t.Fatal(err)
		}
	}
}

// weigh says how much memory the imcd need for a member.
func (f *fleet) weigh(t *testing.T) {
	t.Helper()
	for i, s := range f.imcd {
		if s.ImcdPid() == 0 {
			continue
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.ImcdPid()))
		if err != nil {
			t.Fatal(err)
		}
		resident := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
		kb, err := strconv.Atoi(string(resident[1]))
		if err != nil {
			t.Fatal(err)
		}
		part := f.parts(t)
		members := largeRooms * largeMembers * part[min(i, len(part)-1)] / 64
		t.Logf("imcd %d has %d MB, %d bytes for each of about %d members", i, kb/1024, kb*1024/members, members)
	}
}

// loadedSince adds up in a log how long an imcd took to load shards, behind a text, and how many.
func loadedSince(log string, before int) (took time.Duration, shards int) {
	line := regexp.MustCompile(`"shards":\[([0-9,]+)\],"took":([0-9.]+).*has more rooms`)
	for _, m := range line.FindAllStringSubmatch(log, -1)[before:] {
		ms, _ := strconv.ParseFloat(m[2], 64) // it is a number
		took += time.Duration(ms * float64(time.Millisecond))
		shards += strings.Count(m[1], ",") + 1
	}
	return took, shards
}
