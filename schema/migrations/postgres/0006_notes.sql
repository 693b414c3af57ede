-- +goose Up
-- Notices that wait for their user to register: it was removed from a room, or the room
-- was destroyed.
CREATE TABLE imcd_notes (
    id BIGINT PRIMARY KEY,
    room_username VARCHAR(64) NOT NULL,
    room_domain VARCHAR(64) NOT NULL,
    username VARCHAR(64) NOT NULL,
    domain VARCHAR(64) NOT NULL,
    body BYTEA NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX imcd_notes_at_idx ON imcd_notes (at);
