-- Each workspace's audit is a chain of hashes, and so is what concerns no workspace (its chain is sixteen zero bytes).
-- What was written before, or by a version that knows no chains, is taken in with the next entry.
ALTER TABLE audit ADD COLUMN chain BLOB;
ALTER TABLE audit ADD COLUMN sequence INTEGER;
-- Of the object before and after: over what is kept of it, never shown.
ALTER TABLE audit ADD COLUMN before_digest BLOB;
ALTER TABLE audit ADD COLUMN after_digest BLOB;
-- Over the hash before it and the entry.
ALTER TABLE audit ADD COLUMN hash BLOB;
CREATE UNIQUE INDEX audit_by_sequence ON audit (chain, sequence);
CREATE INDEX audit_unlinked ON audit (id) WHERE sequence IS NULL;
CREATE INDEX audit_by_object ON audit (object, id);

CREATE TABLE audit_chains (
    chain BLOB PRIMARY KEY,
    length INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT, WITHOUT ROWID;
