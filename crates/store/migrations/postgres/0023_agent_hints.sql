-- Stored hints, which requests refer to by id.

CREATE TABLE agent_hints (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id),
    name TEXT NOT NULL,
    hints TEXT NOT NULL,
    created_unix_ms BIGINT NOT NULL,
    version BIGINT NOT NULL
);
CREATE INDEX agent_hints_by_workspace ON agent_hints (workspace, id);
