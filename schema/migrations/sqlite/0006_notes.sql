-- +goose Up
-- Notices that wait for their user to register: it was removed from a room, or the room
-- was destroyed.
CREATE TABLE imcd_notes (
    id INTEGER PRIMARY KEY NOT NULL,
    room_username VARCHAR(64) NOT NULL CHECK (length(room_username) <= 64),
    room_domain VARCHAR(64) NOT NULL CHECK (length(room_domain) <= 64),
    username VARCHAR(64) NOT NULL CHECK (length(username) <= 64),
    domain VARCHAR(64) NOT NULL CHECK (length(domain) <= 64),
    body BLOB NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX imcd_notes_at_idx ON imcd_notes (at);
