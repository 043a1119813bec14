-- Batches that the gateway works through itself: whose they are, how far they are, and their content, sealed.

CREATE TABLE batches (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BLOB NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    -- The request that made it.
    request BLOB NOT NULL,
    -- The key that made it, and pays for its items.
    api_key BLOB,
    -- Headers of that request, which its items have too.
    headers TEXT NOT NULL,
    -- What its dialect adds.
    details TEXT NOT NULL,
    -- receiving, running or ended.
    state TEXT NOT NULL,
    items INTEGER NOT NULL,
    -- How its items ended, once all have.
    counts TEXT,
    created_unix_ms INTEGER NOT NULL,
    expires_unix_ms INTEGER NOT NULL,
    cancelled_unix_ms INTEGER,
    ended_unix_ms INTEGER,
    -- When it is deleted.
    until_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX batches_by_age ON batches (workspace, project, kind, created_unix_ms, id);
CREATE INDEX batches_by_end ON batches (until_unix_ms);

CREATE TABLE batch_items (
    batch BLOB NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    -- The job that works through it.
    lane INTEGER NOT NULL,
    -- When its current try began, from which the id of its exchange follows; NULL before.
    started_unix_ms INTEGER,
    -- Tries that ended with an error that another try may not have.
    tries INTEGER NOT NULL,
    -- No try begins before.
    retry_unix_ms INTEGER NOT NULL,
    -- NULL until it has ended.
    outcome TEXT,
    PRIMARY KEY (batch, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX batch_items_open ON batch_items (batch, lane, position) WHERE outcome IS NULL;
CREATE INDEX batch_items_by_outcome ON batch_items (batch, outcome);

CREATE TABLE batch_contents (
    -- Of batch, position and part.
    digest BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BLOB NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    -- The request that made the batch, or that of a result.
    request BLOB NOT NULL,
    batch BLOB NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    -- request or result.
    part TEXT NOT NULL,
    sealed_version INTEGER NOT NULL,
    sealed_key_id TEXT NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
CREATE INDEX batch_contents_by_workspace ON batch_contents (workspace, project);
CREATE UNIQUE INDEX batch_contents_by_batch ON batch_contents (batch, part, position);
