-- Reports on how well a workload's prompts are reused. Only the newest of each workspace are kept.

CREATE TABLE diagnostics (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    created_unix_ms BIGINT NOT NULL,
    -- What a list shows: source, scope, points and money.
    summary TEXT NOT NULL,
    -- The signed document.
    report TEXT NOT NULL
);
CREATE INDEX diagnostics_by_workspace ON diagnostics (workspace, id);
