package judge

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/lib/pq"
)

// sqlAudit makes triggers that write down, in the transaction of each message, which engine's fence
// that transaction has passed, and who owned the room's shard at its end. The row of a fence belongs
// to the transaction that changed it last: nothing that an engine says about itself is needed. t_rooms
// has the slot of each room, from the test.
const sqlAudit = `
CREATE TABLE t_rooms (room text PRIMARY KEY, slot integer NOT NULL);
CREATE TABLE t_writes (n bigint GENERATED ALWAYS AS IDENTITY, shard integer, writer bigint, owner bigint,
	epoch bigint, room_id bigint, seq bigint);
CREATE TABLE t_moves (n bigint GENERATED ALWAYS AS IDENTITY, shard integer, old bigint, new bigint, was bigint,
	epoch bigint, writer bigint, gone boolean);

CREATE FUNCTION t_writer() RETURNS bigint STABLE LANGUAGE sql AS $$
	SELECT id::bigint FROM imcd_fences
	WHERE xmin::text::bigint = pg_current_xact_id()::text::bigint % 4294967296 AND NOT gone $$;

CREATE FUNCTION t_write() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO t_writes (shard, writer, owner, epoch, room_id, seq)
	SELECT s.shard, t_writer(), s.engine, s.epoch, NEW.room_id, NEW.seq
	FROM imcd_rooms r JOIN t_rooms t USING (room) CROSS JOIN imcd_fleet f
		JOIN imcd_shards s ON s.shard = t.slot & (f.shards - 1)
	WHERE r.id = NEW.room_id;
	IF NOT FOUND THEN
		INSERT INTO t_writes (shard, room_id, seq) VALUES (-1, NEW.room_id, NEW.seq);
	END IF;
	RETURN NULL;
END $$;

CREATE FUNCTION t_move() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO t_moves (shard, old, new, was, epoch, writer, gone) VALUES (NEW.shard, OLD.engine, NEW.engine, OLD.epoch,
		NEW.epoch, t_writer(), COALESCE((SELECT gone FROM imcd_fences WHERE id = OLD.engine), true));
	RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER t_write AFTER INSERT ON imcd_messages DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION t_write();
CREATE TRIGGER t_move AFTER UPDATE ON imcd_shards FOR EACH ROW
	WHEN (OLD.engine IS DISTINCT FROM NEW.engine OR OLD.epoch <> NEW.epoch) EXECUTE FUNCTION t_move();
`

// Audit makes triggers that write down who writes, from now on. imcd must have made its tables. slots
// has the slot of each room, by its SIP URI.
func (d *Database) Audit(ctx context.Context, slots map[string]int) error {
	if _, err := d.db.ExecContext(ctx, sqlAudit); err != nil {
		return fmt.Errorf("make the judge's triggers: %w", err)
	}
	rooms, numbers := make([]string, 0, len(slots)), make([]int64, 0, len(slots))
	for room, slot := range slots {
		rooms, numbers = append(rooms, room), append(numbers, int64(slot))
	}
	if _, err := d.db.ExecContext(ctx, `INSERT INTO t_rooms SELECT * FROM unnest($1::text[], $2::integer[])`,
		pq.Array(rooms), pq.Array(numbers)); err != nil {
		return fmt.Errorf("tell the judge's triggers of rooms: %w", err)
	}
	return nil
}

// readAudit reads what the triggers wrote, if Audit made any.
func readAudit(ctx context.Context, tx *sql.Tx, e *Evidence) error {
	there, err := has(ctx, tx, "t_writes")
	if err != nil || !there {
		return err
	}
	e.Audited = true
	err = each(ctx, tx, `SELECT shard, COALESCE(writer, 0), COALESCE(owner, 0), COALESCE(epoch, 0), room_id, seq
		FROM t_writes ORDER BY n`, func(rows *sql.Rows) error {
		var w Write
		err := rows.Scan(&w.Shard, &w.Writer, &w.Owner, &w.Epoch, &w.Room, &w.Seq)
		e.Audit = append(e.Audit, w)
		return err
	})
	if err != nil {
		return err
	}
	return each(ctx, tx, `SELECT shard, COALESCE(old, 0), COALESCE(new, 0), was, epoch, COALESCE(writer, 0), gone
		FROM t_moves ORDER BY n`, func(rows *sql.Rows) error {
		var m Move
		err := rows.Scan(&m.Shard, &m.From, &m.To, &m.Was, &m.Epoch, &m.Writer, &m.FromGone)
		e.Moves = append(e.Moves, m)
		return err
	})
}
