-- +goose Up
-- What has happened and the webhook's receiver has not confirmed yet. id counts up, in each room in the order of
-- what has happened; hash is that of the room's key, of which its shard is a part. room_id and seq name a message, 0
-- for none; event is JSON.
CREATE TABLE imcd_events (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash BIGINT NOT NULL,
    at BIGINT NOT NULL,
    room_id BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    event BYTEA NOT NULL
);
-- Receivers that do not want events any more (410), by a hash of their address and secret. at is in ms.
CREATE TABLE imcd_webhooks_gone (
    target TEXT PRIMARY KEY,
    at BIGINT NOT NULL
);
