package judge

import (
	"context"
	"fmt"
	"testing"

	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

func TestMain(m *testing.M) { schematest.Main(m) }

// tables are those of imcd that the judge reads, with two rooms, and engines 5 and 6. Engine 5 owns
// both shards.
const tables = `
CREATE TABLE imcd_rooms (id bigint PRIMARY KEY, room varchar(64) UNIQUE, seq bigint NOT NULL DEFAULT 0);
CREATE TABLE imcd_messages (room_id bigint, seq bigint, body bytea, PRIMARY KEY (room_id, seq));
CREATE TABLE imcd_fleet (shards integer NOT NULL);
CREATE TABLE imcd_fences (id bigint PRIMARY KEY, gone boolean NOT NULL DEFAULT false, last bigint NOT NULL DEFAULT 0);
CREATE TABLE imcd_shards (shard integer PRIMARY KEY, engine bigint, epoch bigint NOT NULL DEFAULT 0);
INSERT INTO imcd_rooms (id, room) VALUES (1, 'sip:chat-attic@x'), (2, 'sip:chat-lounge@x');
INSERT INTO imcd_fleet VALUES (2);
INSERT INTO imcd_fences (id) VALUES (5), (6);
INSERT INTO imcd_shards VALUES (0, 5, 1), (1, 5, 1);
`

const (
	pass = `UPDATE imcd_fences SET last = last + 1 WHERE id = %d;`
	say  = `UPDATE imcd_rooms SET seq = seq + 1 WHERE id = %[1]d;
		INSERT INTO imcd_messages SELECT id, seq, convert_to(room || ' ' || seq, 'UTF8') FROM imcd_rooms WHERE id = %[1]d;`
	gone = `UPDATE imcd_fences SET gone = true WHERE id = %d;`
	move = `UPDATE imcd_shards SET engine = %d, epoch = epoch + %d WHERE shard = %d;`
)

func line(format string, args ...any) string { return fmt.Sprintf(format, args...) }

// TestTriggers: each list of transactions is found to be in order, or not.
func TestTriggers(t *testing.T) {
	for name, c := range map[string]struct {
		transactions []string
		wrong        int
	}{
		"both rooms by their owner, also in one transaction": {[]string{
			line(pass, 5) + line(say, 1), line(pass, 5) + line(say, 2), line(pass, 5) + line(say, 1) + line(say, 2)}, 0},
		"given away": {[]string{line(pass, 5) + line(say, 1), line(pass, 5) + line(move, 6, 1, 0),
			line(pass, 6) + line(say, 1), line(pass, 5) + line(say, 2)}, 0},
		"taken over": {[]string{line(pass, 5) + line(say, 1), line(gone, 5) + line(move, 6, 1, 0) + line(move, 6, 1, 1),
			line(pass, 6) + line(say, 1)}, 0},
		"written without a fence":    {[]string{line(say, 1)}, 1},
		"written by somebody else":   {[]string{line(pass, 6) + line(say, 1)}, 1},
		"written after it was gone":  {[]string{line(gone, 5), line(pass, 5) + line(say, 1)}, 1},
		"written after it was taken": {[]string{line(gone, 5) + line(move, 6, 1, 0), line(pass, 5) + line(say, 1)}, 1},
		"one of two rooms is another's": {[]string{line(pass, 5) + line(move, 6, 1, 0),
			line(pass, 6) + line(say, 1) + line(say, 2)}, 1},
		"taken from somebody who lives": {[]string{line(move, 6, 1, 0)}, 1},
		"taken without a new epoch":     {[]string{line(gone, 5) + line(move, 6, 0, 0)}, 1},
		"an epoch that falls":           {[]string{line(pass, 5) + line(say, 1), line(pass, 5) + line(move, 5, -1, 0)}, 1},
	} {
		url := schematest.NewDatabase(t)
		d, err := Open(url)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close() // everything is read
		ctx := kit.Context(t)
		must(t, d.exec(ctx, tables))
		must(t, d.Audit(ctx, map[string]int{"sip:chat-attic@x": 1022, "sip:chat-lounge@x": 7}))
		for _, text := range c.transactions {
			must(t, d.exec(ctx, "BEGIN;"+text+"COMMIT"))
		}
		must(t, d.exec(ctx, "BEGIN;"+line(say, 1)+"ROLLBACK")) // leaves no trace
		e := NewLog().Evidence(nil)
		must(t, d.Read(ctx, e))
		if v := Judge(e); v[5].Wrong != c.wrong || v[2].Wrong > 0 {
			t.Errorf("%s: %v", name, v)
		}
	}
}

// TestLeftOnTheBus: announcements that nobody deletes are found.
func TestLeftOnTheBus(t *testing.T) {
	d, err := Open(schematest.NewDatabase(t))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close() // everything is read
	must(t, d.exec(kit.Context(t), tables+`
		CREATE TABLE imcd_bus (origin bigint, n bigint, kind text, at timestamptz);
		INSERT INTO imcd_bus VALUES (7, 1, 'x', now() - interval '1 minute'), (7, 2, 'y', now())`))
	e := NewLog().Evidence(nil)
	must(t, d.Read(kit.Context(t), e))
	if v := Judge(e); e.Audited || v[6].Wrong != 1 {
		t.Errorf("audited %v, %v", e.Audited, v)
	}
}

// exec runs statements without parameters.
func (d *Database) exec(ctx context.Context, statements string) error {
	_, err := d.db.ExecContext(ctx, statements)
	return err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
