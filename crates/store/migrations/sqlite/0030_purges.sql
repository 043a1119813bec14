-- Purges of stored content, and the signed receipt of each. Neither is deleted with its workspace.

CREATE TABLE purge_jobs (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL,
    -- Whose content it is about.
    target TEXT NOT NULL,
    -- pending, running, completed or failed.
    state TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    -- What was done so far, place by place.
    progress TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    completed_unix_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX purge_jobs_by_workspace ON purge_jobs (workspace, id);

-- A chain in each workspace: the document of each has the hash of the one before.
CREATE TABLE purge_receipts (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    job BLOB NOT NULL UNIQUE,
    document TEXT NOT NULL,
    hash BLOB NOT NULL,
    UNIQUE (workspace, sequence)
) STRICT, WITHOUT ROWID;

-- The provider's name of a response that it stores, so that it can be deleted there. NULL where an older version wrote it.

ALTER TABLE stored_responses ADD COLUMN provider_id TEXT;
