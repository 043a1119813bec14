-- What is measured of a workspace's requests once a minute, above which value it alerts, and what was found last.
CREATE TABLE alert_rules (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    metric TEXT NOT NULL,
    -- Which requests are measured; all where nothing is set.
    project BYTEA,
    api_key BYTEA,
    model TEXT,
    provider TEXT,
    window_minutes BIGINT NOT NULL,
    threshold BIGINT NOT NULL,
    requests_min BIGINT NOT NULL,
    is_enabled BIGINT NOT NULL,
    -- Since when the value is above the threshold.
    firing_since_unix_ms BIGINT,
    value BIGINT,
    measured_unix_ms BIGINT,
    created_unix_ms BIGINT NOT NULL,
    version BIGINT NOT NULL
);
CREATE INDEX alert_rules_by_workspace ON alert_rules (workspace, id);

-- `standard`, or `slack`, whose secret is the address.
ALTER TABLE webhooks ADD COLUMN format TEXT NOT NULL DEFAULT 'standard';
-- The part of the week in which events wait; empty for none.
ALTER TABLE webhooks ADD COLUMN quiet_hours TEXT NOT NULL DEFAULT '';
