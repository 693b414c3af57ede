-- +goose Up
-- What was delivered to the phones of a room's members, and what was displayed, where
-- that says more than the cursors do. One row for each room, in the engine's own form.
CREATE TABLE imcd_places (
    room_id INTEGER PRIMARY KEY NOT NULL,
    places BLOB NOT NULL
);
