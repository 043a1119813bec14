-- The secret that requests of an API key may be signed with, in the way of a cloud. A key without one has none of these.

ALTER TABLE api_keys ADD COLUMN access_secret_version BIGINT;
ALTER TABLE api_keys ADD COLUMN access_secret_key_id TEXT;
ALTER TABLE api_keys ADD COLUMN access_secret_sealed BYTEA;
