package schema

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestInspect(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		ctx := testContext(t)
		found, err := Inspect(ctx, url, Options{})
		if strings.HasPrefix(url, "sqlite") != errors.Is(err, ErrNoFile) || found.Target == "" {
			t.Fatalf("an empty database: %+v, %v", found, err)
		}
		if err == nil && (!slices.Equal(found.Missing, found.Tables) || len(found.Tables) < 9) {
			t.Errorf("an empty database: %+v", found)
		}
		s := open(t, url, Options{})
		if found, err = Inspect(ctx, url, Options{}); err != nil || len(found.Missing) > 0 {
			t.Errorf("a database of imcd: %+v, %v", found, err)
		}
		own, err := stringsOf(ctx, s.db, map[string]string{
			"sqlite":   "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'imcd\\_%' ESCAPE '\\'",
			"postgres": "SELECT tablename FROM pg_tables WHERE tablename LIKE 'imcd\\_%'",
		}[s.dialect.name()])
		if err != nil {
			t.Fatal(err)
		}
		want := ownTables(s.dialect)
		slices.Sort(want)
		slices.Sort(own)
		if !slices.Equal(own, want) {
			t.Errorf("the migrations make %v, looked for are %v", own, want)
		}
		if _, err := s.db.ExecContext(ctx, "DROP TABLE imcd_cursors"); err != nil {
			t.Fatal(err)
		}
		if found, err = Inspect(ctx, url, Options{}); err != nil || !slices.Equal(found.Missing, []string{"imcd_cursors"}) {
			t.Errorf("without a table: %+v, %v", found, err)
		}
		if found, err = Inspect(ctx, url, Options{RoomsTable: "rooms"}); err != nil || !slices.Contains(found.Missing,
			"rooms") {
			t.Errorf("another rooms_table: %+v, %v", found, err)
		}
		over, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := Inspect(over, url, Options{}); err == nil {
			t.Error("no error though there was no time")
		}
	})
	if _, err := Inspect(testContext(t), "postgres://u:hunter2@127.0.0.1:1/x?sslmode=disable", Options{}); !errors.Is(err,
		ErrUnavailable) ||
		strings.Contains(err.Error(), "hunter2") {
		t.Errorf("without a server: %v", err)
	}
}
