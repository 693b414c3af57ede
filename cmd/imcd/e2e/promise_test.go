package e2e

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"imcd/cmd/internal/stack"
	"imcd/engine/store"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	"imcd/schema"
	"imcd/schema/schematest"
)

const (
	promiseSeed  = 3
	promiseRooms = 20
	promiseSize  = 30
	promiseUsers = 60
	promiseRate  = 60              // messages a second at most
	promiseRound = 2 * time.Minute // about what a round of faults takes
)

// rounds is how many rounds of faults are asked for: IMCD_SOAK is a duration.
func rounds(t *testing.T) int {
	soak := os.Getenv("IMCD_SOAK")
	if soak == "" {
		return 1
	}
	d, err := time.ParseDuration(soak)
	if err != nil {
		t.Fatalf("IMCD_SOAK: %v", err)
	}
	return max(1, int(d/promiseRound))
}

// promiseFilling spreads the users over the rooms by chance.
func promiseFilling(random *rand.Rand) []filling {
	users := names("u", promiseUsers)
	rooms := make([]filling, promiseRooms)
	for i := range rooms {
		random.Shuffle(len(users), func(i, j int) { users[i], users[j] = users[j], users[i] })
		rooms[i] = filling{room: fmt.Sprint("chat-r", i), id: int64(i%2) * int64(1000+i),
			members: slices.Clone(users[:promiseSize])}
	}
	return rooms
}

// promisePostgres starts a server with everything that makes commits durable. Its
// files are in memory where that is possible: a kill cannot tell the difference,
// and the disk of a test machine must not decide how much is repeated after one.
func promisePostgres(t *testing.T) *schematest.Postgres {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "imcd-postgres-")
	if err != nil {
		dir = t.TempDir()
	}
	pg, err := schematest.StartPostgres(t.Context(), dir, schematest.Options{Fsync: true})
	if err != nil {
		t.Fatal(errors.Join(err, os.RemoveAll(dir)))
	}
	t.Cleanup(func() {
		if err := errors.Join(pg.Stop(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	if err := pg.CreateDatabase("imcd"); err != nil {
		t.Fatal(err)
	}
	return pg
}

// TestPromise: what was answered 200 arrives, whatever happens to imcd, Kamailio
// and PostgreSQL, once, and in the order of the room.
func TestPromise(t *testing.T) {
	n := rounds(t)
	random := rand.New(rand.NewPCG(promiseSeed, 1))
	rooms := promiseFilling(random)
	pg := promisePostgres(t)
	fillRooms(t, pg.URL("imcd"), rooms)
	s := startPlain(t, stack.Options{DBURL: pg.URL("imcd"),
		Kamailio: evapitest.Options{IMCLocal: "#!define IMC_THROUGH 1\n"},
		// Some outcomes are lost with a Kamailio, and with what it drops for a frozen
		// imcd. What is delivered within cursor_flush is repeated after a kill.
		Settings: map[string]string{"result_timeout": "5s", "cursor_flush": "5ms"}})
	l := newTraffic(t, s, rooms, promiseRate, promiseSeed)
	k := newSink(t, s, l.arrived)
	ctx := kit.Within(t, time.Duration(n)*5*promiseRound)
	if err := registerAt(ctx, k.ua, names("u", promiseUsers), 3600); err != nil {
		t.Fatal(err)
	}

	a := &attack{stack: s, pg: pg, sink: k, load: l, users: names("u", promiseUsers), random: random}
	began := time.Now()
	stop, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		l.run(ctx, stop)
	}()
	err := a.run(ctx, n)
	close(stop)
	<-over
	if err != nil {
		t.Errorf("seed %d: %v", promiseSeed, err)
	}
	loaded := time.Now()
	left, example := l.missing(k)
	late := left
	for tick := time.Tick(50 * time.Millisecond); left > 0 && ctx.Err() == nil &&
		time.Since(loaded) < 2*time.Minute; <-tick {
		left, example = l.missing(k)
	}
	settled := time.Since(loaded)
	copies, repeats := k.counts()
	share := 100 * float64(repeats) / float64(copies)
	t.Logf("seed %d, %d faults in %v: answers %v; %d copies delivered, %d repeated (%.2f %%)\n"+
		"  %d copies of what was answered 200 were under way at the end, settled after %v%s",
		promiseSeed, n*35, loaded.Sub(began).Round(time.Second), l.codes(), copies, repeats, share,
		late, settled.Round(time.Millisecond), a.figures())
	if m, err := metrics(ctx, s); err == nil {
		t.Logf("since its last start: %.0f commits, %.1f ms each", m["imc_commit_seconds_count"],
			1000*m["imc_commit_seconds_sum"]/m["imc_commit_seconds_count"])
	}
	if n := k.passed(); n == 0 || n >= copies {
		t.Errorf("%d of %d copies passed Kamailio as they were", n, copies)
	}
	if left > 0 {
		t.Errorf("%d copies of messages answered 200 have not arrived, like %s", left, example)
	}
	if share >= 1 {
		t.Errorf("%.2f %% of the deliveries are repetitions", share)
	}
	if twice := k.doubles(); len(twice) > 0 {
		t.Errorf("%d copies came again under another Call-ID, like %s", len(twice), twice[0])
	}
	if err := s.StopImcd(); err != nil {
		t.Error(err)
	}
	judgeOrder(t, pg.URL("imcd"), l, k)
}

// judgeOrder compares what members got with the order in which messages are
// stored, and that with the order in which they were answered.
func judgeOrder(t *testing.T, url string, l *traffic, k *sink) {
	ctx := kit.Within(t, 2*time.Minute)
	store, err := schema.Open(ctx, url, schema.Options{Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	rooms, err := roomRows(ctx, store)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range l.rooms {
		rows, err := store.Messages(ctx, rooms[f.room].ID, 0, math.MaxInt32)
		if err != nil {
			t.Fatal(err)
		}
		judgeRoom(t, f, rows, l.messages[f.room], k)
	}
}

func judgeRoom(t *testing.T, f filling, rows []store.MessageRow, messages []*sent, k *sink) {
	at := make(map[int]int) // where a message stands in the room's order
	// What comes later must not have been answered before what comes earlier
	// was begun.
	var latest int64
	for i := range rows {
		var n int
		if _, err := fmt.Sscanf(string(rows[i].Body), f.room+" #%d", &n); err != nil || n >= len(messages) {
			t.Errorf("%s: message %d is %q", f.room, rows[i].Seq, rows[i].Body)
			continue
		}
		if _, twice := at[n]; twice {
			t.Errorf("%s: #%d is stored twice", f.room, n)
		}
		at[n] = i
		m := messages[n]
		if m.code == 200 && m.end < latest {
			t.Errorf("%s: #%d is after one that was begun when it was answered", f.room, n)
		}
		latest = max(latest, m.begin)
	}
	for n, m := range messages {
		if _, stored := at[n]; m.code == 200 && !stored {
			t.Errorf("%s: #%d was answered 200 and is not stored", f.room, n)
		}
	}
	for _, user := range f.members {
		last := -1
		for _, n := range k.order(seat{f.room, user}) {
			i, stored := at[n]
			if !stored || i < last {
				t.Errorf("%s: %s got #%d (stored: %v) after a later one", f.room, user, n, stored)
				break
			}
			last = i
		}
	}
}
