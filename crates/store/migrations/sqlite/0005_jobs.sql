-- Work that outlives the process which wanted it, who is told of what happened, and what is owed for a month.

-- The one durable queue. What is done is gone; what was given up stays to be looked at.
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    -- Whose turn it takes; nil for the installation's own.
    workspace BLOB NOT NULL,
    kind TEXT NOT NULL,
    -- At most one job of a name: asking for it again moves it.
    name TEXT UNIQUE,
    payload TEXT NOT NULL,
    -- waiting for its time, ready, running, or dead.
    state TEXT NOT NULL,
    run_unix_ms INTEGER NOT NULL,
    -- Of a job that comes again and again.
    every_ms INTEGER,
    attempts INTEGER NOT NULL,
    -- Who runs it, and until when that is believed.
    worker TEXT,
    lease_unix_ms INTEGER,
    last_error TEXT,
    created_unix_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX jobs_waiting ON jobs (run_unix_ms) WHERE state = 'waiting';
CREATE INDEX jobs_ready ON jobs (workspace, id) WHERE state = 'ready';
CREATE INDEX jobs_running ON jobs (lease_unix_ms) WHERE state = 'running';
CREATE INDEX jobs_dead ON jobs (id) WHERE state = 'dead';

-- What happened and somebody wants to hear of.
CREATE TABLE events (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX events_by_age ON events (created_unix_ms);

CREATE TABLE webhooks (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id),
    url TEXT NOT NULL,
    description TEXT NOT NULL,
    -- Kinds of events, parted by commas; empty for every kind.
    events TEXT NOT NULL,
    -- Why nothing is sent; nothing where it is.
    disabled_reason TEXT,
    created_unix_ms INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX webhooks_by_workspace ON webhooks (workspace, id);

-- Two at once while a rotation lasts; the floor of each is in seal_floors under the webhook's id and the generation.
CREATE TABLE webhook_secrets (
    webhook BLOB NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    generation INTEGER NOT NULL,
    secret_version INTEGER NOT NULL,
    secret_key_id TEXT NOT NULL,
    secret_sealed BLOB NOT NULL,
    fingerprint TEXT NOT NULL,
    -- Of the one that a newer one replaced.
    expires_unix_ms INTEGER,
    PRIMARY KEY (webhook, generation)
) STRICT, WITHOUT ROWID;

CREATE TABLE webhook_deliveries (
    webhook BLOB NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    event BLOB NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    -- pending, delivered or failed.
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    last_status INTEGER,
    last_error TEXT,
    attempted_unix_ms INTEGER,
    PRIMARY KEY (webhook, event)
) STRICT, WITHOUT ROWID;
CREATE INDEX webhook_deliveries_by_event ON webhook_deliveries (event);

-- What the operator asks for; each version holds from the month that begins at its date.
CREATE TABLE tariffs (
    name TEXT NOT NULL,
    effective_unix_ms INTEGER NOT NULL,
    spec TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    PRIMARY KEY (name, effective_unix_ms)
) STRICT, WITHOUT ROWID;

-- Which tariff a workspace has from a month on; "default" where nothing is said.
CREATE TABLE tariff_assignments (
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    effective_unix_ms INTEGER NOT NULL,
    tariff TEXT NOT NULL,
    PRIMARY KEY (workspace, effective_unix_ms)
) STRICT, WITHOUT ROWID;

-- Finalised ones, which nothing changes any more: they outlive their workspace.
CREATE TABLE invoices (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL,
    period_start_unix_ms INTEGER NOT NULL,
    -- The invoice as it was drawn, with the tariff that it was drawn by.
    body TEXT NOT NULL,
    finalised_unix_ms INTEGER NOT NULL,
    UNIQUE (workspace, period_start_unix_ms)
) STRICT, WITHOUT ROWID;
