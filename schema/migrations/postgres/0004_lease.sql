-- +goose Up
-- Which imcd works with this database: one row. id names one start of an imcd, 0
-- nobody; it is a key, so that taking the row over waits for commits that have it
-- locked FOR KEY SHARE, and a beat does not. beat counts up while that imcd lives.
CREATE TABLE imcd_lease (
    id BIGINT PRIMARY KEY,
    beat BIGINT NOT NULL,
    holder TEXT NOT NULL,
    one INTEGER NOT NULL DEFAULT 1 UNIQUE CHECK (one = 1)
) WITH (fillfactor = 20);
INSERT INTO imcd_lease (id, beat, holder) VALUES (0, 0, '');
