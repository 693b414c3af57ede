package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imcd/engine/store"
	"imcd/schema"
)

// TestHandback: an imcd that runs keeps the tables; without it, rooms without members are named.
func TestHandback(t *testing.T) {
	dir := t.TempDir()
	url := "sqlite://" + filepath.Join(dir, "imcd.db")
	file := filepath.Join(dir, "imcd.yaml")
	text := "db_url: " + url + "\nevapi_secret: s3cret\nstate_dir: " + dir + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	handback := func(wantCode int, words ...string) {
		t.Helper()
		code, stdout, stderr := imcctl(nil, "handback", "-c", file)
		for _, w := range words {
			if code != wantCode || stderr != "" || !strings.Contains(stdout, w) {
				t.Errorf("exit code %d, not %d, or no %q: %s%s", code, wantCode, w, stdout, stderr)
			}
		}
	}
	handback(exitError, "does not exist yet")
	db, err := schema.Open(t.Context(), url, schema.Options{Lease: &schema.Lease{}})
	if err != nil {
		t.Fatal(err)
	}
	empty := store.Name{User: "empty", Host: "x.org"}
	changes := []store.Change{{Op: store.PutRoom, Room: store.RoomRow{Name: empty}}}
	if err := db.Commit(t.Context(), store.Fence{}, changes); err != nil {
		t.Fatal(err)
	}
	handback(exitError, "FAIL  database: ", "another imcd works with this database", "Stop imcd")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	handback(exitOK, "ok    owners: ", "warn  rooms: without members: sip:empty@x.org;")
}
