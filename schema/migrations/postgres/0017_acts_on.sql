-- +goose Up
-- What was done to a user, in whichever room (imc.user_acts).
CREATE INDEX imcd_acts_who_idx ON imcd_acts (lower(who), at);
