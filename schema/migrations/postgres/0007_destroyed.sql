-- +goose Up
-- Rooms that were destroyed, by the ids that they had in imcd_rooms, until their messages
-- and cursors are deleted.
CREATE TABLE imcd_destroyed (
    room_id BIGINT PRIMARY KEY
);
