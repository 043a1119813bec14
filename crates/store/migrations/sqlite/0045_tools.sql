-- What projects declare for models to call, the headers with which it is called, sealed, and what was called.

CREATE TABLE tools (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BLOB NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    is_enabled INTEGER NOT NULL,
    definition TEXT NOT NULL,
    -- The digest of its row in tool_secrets.
    secret BLOB,
    created_unix_ms INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX tools_by_name ON tools (workspace, project, name);

CREATE TABLE mcp_servers (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BLOB NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    is_enabled INTEGER NOT NULL,
    definition TEXT NOT NULL,
    secret BLOB,
    -- What it lists, and what of that was accepted.
    state TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX mcp_servers_by_name ON mcp_servers (workspace, project, name);

CREATE TABLE tool_secrets (
    digest BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BLOB NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    request BLOB NOT NULL,
    sealed_version INTEGER NOT NULL,
    sealed_key_id TEXT NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
CREATE INDEX tool_secrets_by_key ON tool_secrets (workspace, sealed_key_id, digest);

CREATE TABLE tool_calls (
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BLOB NOT NULL,
    -- The client's request.
    request BLOB NOT NULL,
    place INTEGER NOT NULL,
    step INTEGER NOT NULL,
    name TEXT NOT NULL,
    declared TEXT NOT NULL,
    outcome TEXT NOT NULL,
    started_unix_ms INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    bytes_in INTEGER NOT NULL,
    bytes_out INTEGER NOT NULL,
    is_truncated INTEGER NOT NULL,
    PRIMARY KEY (workspace, request, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX tool_calls_by_time ON tool_calls (started_unix_ms);
