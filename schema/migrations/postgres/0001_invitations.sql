-- +goose Up
-- Who invited whom. Kamailio's imc_members has no place for it.
CREATE TABLE imcd_invitations (
    room VARCHAR(64) NOT NULL,
    username VARCHAR(64) NOT NULL,
    domain VARCHAR(64) NOT NULL,
    inviter_username VARCHAR(64) NOT NULL,
    inviter_domain VARCHAR(64) NOT NULL,
    told BOOLEAN NOT NULL,
    PRIMARY KEY (room, username, domain)
);
