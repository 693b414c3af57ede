-- +goose Up
-- The device of its user that a message was written on: imcd_devices.device, or imcd_devices.source where one device was
-- registered. Empty: not known, as of all older messages.
ALTER TABLE imcd_messages ADD COLUMN device VARCHAR(255) NOT NULL DEFAULT '';
