-- +goose Up
-- An incarnation of a room: one that is destroyed and made again has another id.
-- pruned is the number of the newest message that was deleted, bytes the size of
-- the bodies that are kept, oldest the time (ms) of the first of them.
CREATE TABLE imcd_rooms (
    id INTEGER PRIMARY KEY NOT NULL,
    room VARCHAR(64) NOT NULL UNIQUE CHECK (length(room) <= 64),
    seq BIGINT NOT NULL DEFAULT 0,
    done BIGINT NOT NULL DEFAULT 0,
    pruned BIGINT NOT NULL DEFAULT 0,
    bytes BIGINT NOT NULL DEFAULT 0,
    oldest BIGINT NOT NULL DEFAULT 0
);
-- content_type holds what the sender wrote, which need not be UTF-8.
CREATE TABLE imcd_messages (
    room_id BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    sender_username VARCHAR(64) NOT NULL CHECK (length(sender_username) <= 64),
    sender_domain VARCHAR(64) NOT NULL CHECK (length(sender_domain) <= 64),
    display VARCHAR(64) NOT NULL CHECK (length(display) <= 64),
    content_type BLOB NOT NULL,
    body BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (room_id, seq)
);
-- Members without a row have got what imcd_rooms.done says.
CREATE TABLE imcd_cursors (
    room_id BIGINT NOT NULL,
    username VARCHAR(64) NOT NULL CHECK (length(username) <= 64),
    domain VARCHAR(64) NOT NULL CHECK (length(domain) <= 64),
    seq BIGINT NOT NULL,
    PRIMARY KEY (room_id, username, domain)
) WITHOUT ROWID;
-- Answers that were given, to answer repetitions alike.
CREATE TABLE imcd_seen (
    key BLOB PRIMARY KEY NOT NULL CHECK (length(key) = 16),
    shard BIGINT NOT NULL,
    code INTEGER NOT NULL,
    rc INTEGER NOT NULL,
    reason TEXT NOT NULL,
    at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX imcd_seen_at_idx ON imcd_seen (at);
