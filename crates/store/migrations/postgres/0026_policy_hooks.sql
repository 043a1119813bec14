-- The sealed secret that signs the calls of a policy's hooks. Versions before it leave it as it is.

ALTER TABLE policies ADD COLUMN secret_version BIGINT;
ALTER TABLE policies ADD COLUMN secret_key_id TEXT;
ALTER TABLE policies ADD COLUMN secret_sealed BYTEA;
ALTER TABLE policies ADD COLUMN fingerprint TEXT;
ALTER TABLE policies ADD COLUMN secret_unix_ms BIGINT;
