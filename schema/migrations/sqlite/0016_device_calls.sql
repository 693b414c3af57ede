-- +goose Up
-- A hash of the Call-ID of the registrations of a device without +sip.instance. Empty: not known, or two devices may
-- have this name.
ALTER TABLE imcd_devices ADD COLUMN call_id VARCHAR(255) NOT NULL DEFAULT '' CHECK (length(call_id) <= 255);
