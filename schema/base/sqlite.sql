-- version
CREATE TABLE version (
    id INTEGER PRIMARY KEY NOT NULL,
    table_name VARCHAR(32) NOT NULL CHECK (length(table_name) <= 32),
    table_version INTEGER DEFAULT 0 NOT NULL,
    CONSTRAINT version_table_name_idx UNIQUE (table_name)
);
-- rooms
CREATE TABLE {rooms} (
    id INTEGER PRIMARY KEY NOT NULL,
    name VARCHAR(64) NOT NULL CHECK (length(name) <= 64),
    domain VARCHAR(64) NOT NULL CHECK (length(domain) <= 64),
    flag INTEGER NOT NULL,
    CONSTRAINT {rooms}_name_domain_idx UNIQUE (name, domain)
);
-- members
CREATE TABLE {members} (
    id INTEGER PRIMARY KEY NOT NULL,
    username VARCHAR(64) NOT NULL CHECK (length(username) <= 64),
    domain VARCHAR(64) NOT NULL CHECK (length(domain) <= 64),
    room VARCHAR(64) NOT NULL CHECK (length(room) <= 64),
    flag INTEGER NOT NULL,
    CONSTRAINT {members}_account_room_idx UNIQUE (username, domain, room)
);
