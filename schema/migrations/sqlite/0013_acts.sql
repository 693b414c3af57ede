-- +goose Up
-- What was done in rooms: who did what to whom, and why. room is the key of a room's name: a room that is
-- destroyed keeps its acts for a while. at and until are in ms; until is 0 if it has no end.
CREATE TABLE imcd_acts (
    id INTEGER PRIMARY KEY NOT NULL,
    room TEXT NOT NULL, at BIGINT NOT NULL,
    by_user TEXT NOT NULL, act TEXT NOT NULL, who TEXT NOT NULL,
    until BIGINT NOT NULL, why TEXT NOT NULL
);
CREATE INDEX imcd_acts_room_idx ON imcd_acts (room, at);
CREATE INDEX imcd_acts_at_idx ON imcd_acts (at);
