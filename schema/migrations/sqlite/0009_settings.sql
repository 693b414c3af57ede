-- +goose Up
-- What the owners of a room have set, as text: a setting of the room (who is empty), or something about a
-- user of it. Names that an imcd does not know stay as they are.
CREATE TABLE imcd_settings (
    room_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    who TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (room_id, name, who)
) WITHOUT ROWID;
