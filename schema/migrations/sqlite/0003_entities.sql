-- +goose Up
-- headers are lines "Name: value" of headers that go on with a message: those that
-- say what its body is, and marks. expires is the time (ms) from which on it is not
-- delivered any more, 0 for none. message_id is how the sender's client names it, wants
-- which receipts that has asked for (1 delivered, 2 displayed).
ALTER TABLE imcd_messages ADD COLUMN headers BLOB NOT NULL DEFAULT x'';
ALTER TABLE imcd_messages ADD COLUMN expires BIGINT NOT NULL DEFAULT 0;
ALTER TABLE imcd_messages ADD COLUMN message_id BLOB NOT NULL DEFAULT x'';
ALTER TABLE imcd_messages ADD COLUMN wants INTEGER NOT NULL DEFAULT 0;
