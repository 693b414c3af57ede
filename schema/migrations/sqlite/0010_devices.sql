-- +goose Up
-- Devices of users, as their registrations tell. device is the +sip.instance, or else what stays the
-- same of the contact; names are in lower case. kamailio is where it has registered, expires is the
-- time (ms) until which it is registered, ok_at when it was heard of last, gone_at since when it gets nothing, 0 if it does.
CREATE TABLE imcd_devices (
    username VARCHAR(64) NOT NULL CHECK (length(username) <= 64),
    domain VARCHAR(64) NOT NULL CHECK (length(domain) <= 64),
    device VARCHAR(255) NOT NULL CHECK (length(device) <= 255),
    contact VARCHAR(255) NOT NULL CHECK (length(contact) <= 255),
    gruu VARCHAR(255) NOT NULL CHECK (length(gruu) <= 255),
    agent VARCHAR(255) NOT NULL CHECK (length(agent) <= 255),
    source VARCHAR(255) NOT NULL CHECK (length(source) <= 255),
    kamailio VARCHAR(255) NOT NULL CHECK (length(kamailio) <= 255),
    expires BIGINT NOT NULL,
    ok_at BIGINT NOT NULL,
    gone_at BIGINT NOT NULL,
    PRIMARY KEY (username, domain, device)
);
CREATE INDEX imcd_devices_ok_at_idx ON imcd_devices (ok_at);
