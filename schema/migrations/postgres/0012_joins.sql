-- +goose Up
-- The number of the last message that a room had when a user came into it: a device of that user that was
-- gone by then gets later ones only. Members without a row have been there since before this table.
CREATE TABLE imcd_joins (
    room_id BIGINT NOT NULL,
    username VARCHAR(64) NOT NULL,
    domain VARCHAR(64) NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (room_id, username, domain)
);
