-- What projects declare for models to call, the headers with which it is called, sealed, and what was called.

CREATE TABLE tools (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BYTEA NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    is_enabled BIGINT NOT NULL,
    definition TEXT NOT NULL,
    -- The digest of its row in tool_secrets.
    secret BYTEA,
    created_unix_ms BIGINT NOT NULL,
    version BIGINT NOT NULL
);
CREATE UNIQUE INDEX tools_by_name ON tools (workspace, project, name);

CREATE TABLE mcp_servers (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BYTEA NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    is_enabled BIGINT NOT NULL,
    definition TEXT NOT NULL,
    secret BYTEA,
    -- What it lists, and what of that was accepted.
    state TEXT NOT NULL,
    created_unix_ms BIGINT NOT NULL,
    version BIGINT NOT NULL
);
CREATE UNIQUE INDEX mcp_servers_by_name ON mcp_servers (workspace, project, name);

CREATE TABLE tool_secrets (
    digest BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BYTEA NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    request BYTEA NOT NULL,
    sealed_version BIGINT NOT NULL,
    sealed_key_id TEXT NOT NULL,
    sealed BYTEA NOT NULL
);
CREATE INDEX tool_secrets_by_key ON tool_secrets (workspace, sealed_key_id, digest);

CREATE TABLE tool_calls (
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BYTEA NOT NULL,
    -- The client's request.
    request BYTEA NOT NULL,
    place BIGINT NOT NULL,
    step BIGINT NOT NULL,
    name TEXT NOT NULL,
    declared TEXT NOT NULL,
    outcome TEXT NOT NULL,
    started_unix_ms BIGINT NOT NULL,
    duration_ms BIGINT NOT NULL,
    bytes_in BIGINT NOT NULL,
    bytes_out BIGINT NOT NULL,
    is_truncated BIGINT NOT NULL,
    PRIMARY KEY (workspace, request, place)
);
CREATE INDEX tool_calls_by_time ON tool_calls (started_unix_ms);
