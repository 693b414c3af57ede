-- +goose Up
-- Who invited whom. Kamailio's imc_members has no place for it.
CREATE TABLE imcd_invitations (
    room VARCHAR(64) NOT NULL CHECK (length(room) <= 64),
    username VARCHAR(64) NOT NULL CHECK (length(username) <= 64),
    domain VARCHAR(64) NOT NULL CHECK (length(domain) <= 64),
    inviter_username VARCHAR(64) NOT NULL CHECK (length(inviter_username) <= 64),
    inviter_domain VARCHAR(64) NOT NULL CHECK (length(inviter_domain) <= 64),
    told BOOLEAN NOT NULL,
    PRIMARY KEY (room, username, domain)
);
