-- +goose Up
-- Several imcd share this database. An engine is one start of an imcd; a room belongs to the
-- shard that its name hashes to, and a shard to one engine. shards is a power of two.
CREATE TABLE imcd_fleet (
    one INTEGER PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    shards INTEGER NOT NULL
);
INSERT INTO imcd_fleet (shards) VALUES (64);
-- beat counts up while the engine lives, process says who it is.
CREATE TABLE imcd_engines (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    beat BIGINT NOT NULL DEFAULT 0,
    process TEXT NOT NULL
) WITH (fillfactor = 20);
-- Every commit of an engine changes its row here, and can do so only while gone is false: who
-- sets it waits for a commit under way, and none comes after that. last is the number of
-- the last commit. It is a table of its own so that a commit that waits for a standby does not
-- hold up beats.
CREATE TABLE imcd_fences (
    id BIGINT PRIMARY KEY,
    gone BOOLEAN NOT NULL DEFAULT false,
    last BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 20);
-- engine is NULL if nobody owns the shard; epoch counts the changes of engine.
CREATE TABLE imcd_shards (
    shard INTEGER PRIMARY KEY,
    engine BIGINT,
    epoch BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 20);
INSERT INTO imcd_shards (shard) SELECT generate_series(0, 63);
