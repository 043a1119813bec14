-- The sealed secret that signs the calls of a policy's hooks. Versions before it leave it as it is.

ALTER TABLE policies ADD COLUMN secret_version INTEGER;
ALTER TABLE policies ADD COLUMN secret_key_id TEXT;
ALTER TABLE policies ADD COLUMN secret_sealed BLOB;
ALTER TABLE policies ADD COLUMN fingerprint TEXT;
ALTER TABLE policies ADD COLUMN secret_unix_ms INTEGER;
