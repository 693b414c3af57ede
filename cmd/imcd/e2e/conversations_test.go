package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imcd/cmd/internal/convo"
	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest/kit"
)

const conversationsDir = "../../../testdata/conversations"

// conversations reads all files, grouped by the settings that they need.
func conversations(t *testing.T) map[string][]*convo.Conversation {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(conversationsDir, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no conversations in %s: %v", conversationsDir, err)
	}
	groups := make(map[string][]*convo.Conversation)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all, err := convo.Parse(filepath.Base(file), text)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			groups[c.Config()] = append(groups[c.Config()], c)
		}
	}
	return groups
}

// TestConversations plays everything in testdata/conversations: each settings'
// group one conversation after the other, the groups side by side.
func TestConversations(t *testing.T) {
	t.Parallel()
	for _, database := range databases() {
		for _, group := range conversations(t) {
			t.Run(database, func(t *testing.T) {
				t.Parallel()
				s := start(t, database, stack.Options{Settings: group[0].Settings})
				r := &convo.Runner{Stack: s, Silence: silence(s)}
				for _, c := range group {
					t.Run(c.Title, func(t *testing.T) {
						if err := r.Run(kit.Within(t, 2*time.Minute), c); err != nil {
							t.Error(err)
						}
					})
				}
			})
		}
	}
}

// silence dates the last messages of all rooms back, and the warnings of their owners: imcd_settings has both in one
// value, in ms (engine/idle.go).
func silence(s *stack.Stack) func(ctx context.Context, by time.Duration) error {
	return func(ctx context.Context, by time.Duration) error {
		driver, source := "postgres", s.DBURL()+"?sslmode=disable"
		if path, ok := strings.CutPrefix(s.DBURL(), "sqlite://"); ok {
			driver, source = "sqlite", path
		}
		db, err := sql.Open(driver, source)
		if err != nil {
			return err
		}
		defer db.Close()
		var room, said, warned int64
		var value string
		row := db.QueryRowContext(ctx, "SELECT room_id, value FROM imcd_settings WHERE name = 'idle_since'")
		if err := row.Scan(&room, &value); err != nil {
			return err
		}
		if _, err := fmt.Sscan(value, &said, &warned); err != nil {
			return err
		}
		said -= by.Milliseconds()
		warned = max(0, warned-by.Milliseconds())
		_, err = db.ExecContext(ctx, fmt.Sprintf("UPDATE imcd_settings SET value = '%d %d' "+
			"WHERE room_id = %d AND name = 'idle_since'", said, warned, room))
		return err
	}
}
