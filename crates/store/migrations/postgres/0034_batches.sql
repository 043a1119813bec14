-- Batches that the gateway works through itself: whose they are, how far they are, and their content, sealed.

CREATE TABLE batches (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BYTEA NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    -- The request that made it.
    request BYTEA NOT NULL,
    -- The key that made it, and pays for its items.
    api_key BYTEA,
    -- Headers of that request, which its items have too.
    headers TEXT NOT NULL,
    -- What its dialect adds.
    details TEXT NOT NULL,
    -- receiving, running or ended.
    state TEXT NOT NULL,
    items BIGINT NOT NULL,
    -- How its items ended, once all have.
    counts TEXT,
    created_unix_ms BIGINT NOT NULL,
    expires_unix_ms BIGINT NOT NULL,
    cancelled_unix_ms BIGINT,
    ended_unix_ms BIGINT,
    -- When it is deleted.
    until_unix_ms BIGINT NOT NULL
);
CREATE INDEX batches_by_age ON batches (workspace, project, kind, created_unix_ms, id);
CREATE INDEX batches_by_end ON batches (until_unix_ms);

CREATE TABLE batch_items (
    batch BYTEA NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    -- The job that works through it.
    lane BIGINT NOT NULL,
    -- When its current try began, from which the id of its exchange follows; NULL before.
    started_unix_ms BIGINT,
    -- Tries that ended with an error that another try may not have.
    tries BIGINT NOT NULL,
    -- No try begins before.
    retry_unix_ms BIGINT NOT NULL,
    -- NULL until it has ended.
    outcome TEXT,
    PRIMARY KEY (batch, position)
);
CREATE INDEX batch_items_open ON batch_items (batch, lane, position) WHERE outcome IS NULL;
CREATE INDEX batch_items_by_outcome ON batch_items (batch, outcome);

CREATE TABLE batch_contents (
    -- Of batch, position and part.
    digest BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BYTEA NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    -- The request that made the batch, or that of a result.
    request BYTEA NOT NULL,
    batch BYTEA NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    -- request or result.
    part TEXT NOT NULL,
    sealed_version BIGINT NOT NULL,
    sealed_key_id TEXT NOT NULL,
    sealed BYTEA NOT NULL
);
CREATE INDEX batch_contents_by_workspace ON batch_contents (workspace, project);
CREATE UNIQUE INDEX batch_contents_by_batch ON batch_contents (batch, part, position);
