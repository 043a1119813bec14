-- Stored hints, which requests refer to by id.

CREATE TABLE agent_hints (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id),
    name TEXT NOT NULL,
    hints TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX agent_hints_by_workspace ON agent_hints (workspace, id);
