-- Purges of stored content, and the signed receipt of each. Neither is deleted with its workspace.

CREATE TABLE purge_jobs (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL,
    -- Whose content it is about.
    target TEXT NOT NULL,
    -- pending, running, completed or failed.
    state TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    -- What was done so far, place by place.
    progress TEXT NOT NULL,
    created_unix_ms BIGINT NOT NULL,
    completed_unix_ms BIGINT
);
CREATE INDEX purge_jobs_by_workspace ON purge_jobs (workspace, id);

-- A chain in each workspace: the document of each has the hash of the one before.
CREATE TABLE purge_receipts (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL,
    sequence BIGINT NOT NULL,
    job BYTEA NOT NULL UNIQUE,
    document TEXT NOT NULL,
    hash BYTEA NOT NULL,
    UNIQUE (workspace, sequence)
);

-- The provider's name of a response that it stores, so that it can be deleted there. NULL where an older version wrote it.

ALTER TABLE stored_responses ADD COLUMN provider_id TEXT;
