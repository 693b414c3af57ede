-- +goose Up
-- What engines say to each other; a row lives for ten seconds. origin counts its rows with n. target is NULL
-- if a row is for all engines. The table is not written ahead: after a crash of the server it is empty, as all
-- of it would be outdated.
CREATE UNLOGGED TABLE imcd_bus (
    origin BIGINT NOT NULL,
    n BIGINT NOT NULL,
    target BIGINT,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (origin, n)
);
