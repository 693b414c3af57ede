package main

import (
	"bytes"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"imcd/cmd/imcctl/internal/dbcopy"
)

// TestCopy goes from a file to the database of imcd's configuration, and back.
func TestCopy(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "other.db")
	db, err := sql.Open("sqlite", other)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`CREATE TABLE chat_rooms (id INTEGER PRIMARY KEY, name TEXT, domain TEXT, flag INTEGER);
		CREATE TABLE imc_members (id INTEGER PRIMARY KEY, username TEXT, domain TEXT, room TEXT, flag INTEGER);
		INSERT INTO chat_rooms VALUES (1, 'lobby', 'x.org', 0), (2, 'gone', 'x.org', 2);
		INSERT INTO imc_members VALUES (1, 'bob', 'x.org', 'sip:lobby@x.org', 0), (2, 'alice', 'x.org', 'sip:lobby@x.org', 1),
			(3, 'eve', 'x.org', 'sip:gone@x.org', 1)`); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "imcd.yaml")
	text := "db_url: sqlite://" + filepath.Join(dir, "imcd.db") + "\nevapi_secret: s3cret\n" +
		"rooms_table: chat_rooms\nstate_dir: " + dir + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	from := "sqlite://" + other
	for _, step := range []struct {
		args string
		code int
		want []string
	}{
		{"copy", exitUsage, []string{"--from URL, --to URL, or both"}},
		{"copy --from " + from + " --dry-run -c " + file, exitOK, []string{"ok    from: " + other + ": 2 rooms, 3 members\n",
			"warn  left out: rooms that are marked deleted: 1 (sip:gone@x.org)\n",
			"warn  left out: members of rooms that are not there, or left out: 1 (sip:eve@x.org in sip:gone@x.org)\n",
			"ok    changed: rooms whose owner now is the first member, as imc.so needs it: 1 (sip:lobby@x.org)\n",
			"imcd.db would get 1 room, 2 members; nothing was written\n"}},
		{"copy --from " + from + " -c " + file, exitOK, []string{"imcd.db: 1 room, 2 members, in "}},
		{"copy --from " + from + " -c " + file, exitError, []string{"FAIL  copy: --to: ", "already", "-> Give --replace"}},
		{"copy --from " + from + " --dry-run -c " + file, exitError, []string{"FAIL  to: ", "already: 1 room, 2 members"}},
		{"copy --to " + from + " --dry-run --replace --json -c " + file, exitOK,
			[]string{`"status":"warn"`, "lose what is there"}},
		{"copy --to " + from + " --replace -c " + file, exitOK, []string{other + ": 1 room, 2 members"}},
		{"copy --from " + from + " --to " + from, exitError, []string{"FAIL  copy: --from: ", "has no table imc_rooms"}},
		{"copy --from " + from + " --to " + from + " --rooms-table chat_rooms", exitError, []string{"the same database"}},
		{"copy --from mysql://u:hunter2@127.0.0.1:1/d --to " + from, exitError, []string{"FAIL  copy: --from: ", "refused"}},
		{"copy --from " + from + " -c " + other, exitError, []string{"FAIL  configuration: "}},
	} {
		code, stdout, stderr := imcctl(nil, strings.Fields(step.args)...)
		for _, want := range step.want {
			if code != step.code || !strings.Contains(stdout+stderr, want) || strings.Contains(stdout+stderr, "hunter2") {
				t.Errorf("%s: exit code %d, no %q in\n%s%s", step.args, code, want, stdout, stderr)
			}
		}
	}
}

func TestProgressBar(t *testing.T) {
	var out bytes.Buffer
	b := &progressBar{out: &out, on: true, last: time.Now()}
	b.show(dbcopy.Reading, 1, 200) // too soon
	b.last = time.Time{}
	b.show(dbcopy.Reading, 50, 200)
	b.show(dbcopy.Writing, 1, 1)
	b.end()
	want := "\rreading  [#######.......................]  25 %  50 of 200 rows\x1b[K" +
		"\rwriting  [##############################] 100 %  1 of 1 row\x1b[K\r\x1b[K"
	if out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	out.Reset()
	b = &progressBar{out: &out}
	b.show(dbcopy.Writing, 1, 1)
	b.end()
	if out.Len() > 0 {
		t.Errorf("without a terminal: %q", out.String())
	}
}
