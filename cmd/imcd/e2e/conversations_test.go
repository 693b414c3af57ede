package e2e

import (
	"os"
	"path/filepath"
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
				r := &convo.Runner{Stack: start(t, database, stack.Options{Settings: group[0].Settings})}
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
