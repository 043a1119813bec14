-- What is measured of a workspace's requests once a minute, above which value it alerts, and what was found last.
CREATE TABLE alert_rules (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    metric TEXT NOT NULL,
    -- Which requests are measured; all where nothing is set.
    project BLOB,
    api_key BLOB,
    model TEXT,
    provider TEXT,
    window_minutes INTEGER NOT NULL,
    threshold INTEGER NOT NULL,
    requests_min INTEGER NOT NULL,
    is_enabled INTEGER NOT NULL,
    -- Since when the value is above the threshold.
    firing_since_unix_ms INTEGER,
    value INTEGER,
    measured_unix_ms INTEGER,
    created_unix_ms INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX alert_rules_by_workspace ON alert_rules (workspace, id);

-- `standard`, or `slack`, whose secret is the address.
ALTER TABLE webhooks ADD COLUMN format TEXT NOT NULL DEFAULT 'standard';
-- The part of the week in which events wait; empty for none.
ALTER TABLE webhooks ADD COLUMN quiet_hours TEXT NOT NULL DEFAULT '';
