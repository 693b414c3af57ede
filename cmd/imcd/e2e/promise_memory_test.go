package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// rss is the memory of a process that is in RAM, in bytes.
func rss(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.Fields(value)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Fatalf("no VmRSS of %d", pid)
	return 0
}

// TestPromiseMemory: what members have not got yet is in the database, not in
// imcd: 2000 rooms of 50 members who are owed 100 messages each.
func TestPromiseMemory(t *testing.T) {
	const rooms, size, pending, limit = 2000, 50, 100, 500 << 20
	fillings := make([]filling, rooms)
	for i := range fillings {
		fillings[i] = filling{room: fmt.Sprint("chat-m", i), id: int64(i + 1),
			members:  names(fmt.Sprintf("m%d-", i), size),
			messages: pending}
	}
	url := schematest.NewDatabase(t)
	began := time.Now()
	fillRooms(t, url, fillings)
	filled := time.Now()
	s := startPlain(t, stack.Options{DBURL: url})
	started := rss(t, s.ImcdPid())
	ctx := kit.Within(t, 5*time.Minute)
	highest := started
	look := func() { highest = max(highest, rss(t, s.ImcdPid())) }

	// Everybody is tried once, and found to be offline.
	kit.Until(t, ctx, "all are known to be offline", func() bool {
		look()
		m, err := metrics(ctx, s)
		return err == nil && m[`imc_deliveries_total{result="offline"}`] >= rooms*(size-1)
	})
	offline := rss(t, s.ImcdPid())
	t.Logf("%d rooms of %d members with %d messages pending: filled in %v, all tried after %v more",
		rooms, size, pending, filled.Sub(began).Round(time.Second), time.Since(filled).Round(time.Second))

	k := chatAgent(t, s, "sink")
	sample := []string{}
	for i := range 5 {
		sample = append(sample, fillings[i*100].members[1:]...)
	}
	if err := registerAt(ctx, k, sample, 3600); err != nil {
		t.Fatal(err)
	}
	want := len(sample) * pending
	kit.Until(t, ctx, "the sample has everything", func() bool { look(); return len(k.Received()) >= want })
	t.Logf("RSS of imcd: %d MB after its start, %d MB with everybody tried and offline, %d MB when %d members had got "+
		"what they missed, at most %d MB", started>>20, offline>>20, rss(t, s.ImcdPid())>>20, len(sample), highest>>20)
	if highest >= limit {
		t.Errorf("imcd needs %d MB", highest>>20)
	}
}
