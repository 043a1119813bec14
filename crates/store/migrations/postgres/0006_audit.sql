-- Each workspace's audit is a chain of hashes, and so is what concerns no workspace (its chain is sixteen zero bytes).
-- What was written before, or by a version that knows no chains, is taken in with the next entry.
ALTER TABLE audit ADD COLUMN chain BYTEA;
ALTER TABLE audit ADD COLUMN sequence BIGINT;
-- Of the object before and after: over what is kept of it, never shown.
ALTER TABLE audit ADD COLUMN before_digest BYTEA;
ALTER TABLE audit ADD COLUMN after_digest BYTEA;
-- Over the hash before it and the entry.
ALTER TABLE audit ADD COLUMN hash BYTEA;
CREATE UNIQUE INDEX audit_by_sequence ON audit (chain, sequence);
CREATE INDEX audit_unlinked ON audit (id) WHERE sequence IS NULL;
CREATE INDEX audit_by_object ON audit (object, id);

CREATE TABLE audit_chains (
    chain BYTEA PRIMARY KEY,
    length BIGINT NOT NULL,
    hash BYTEA NOT NULL
);
