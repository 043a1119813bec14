-- HTTP servers that projects declare as apps, and the secrets that these are sent by name.

CREATE TABLE apps (
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
CREATE UNIQUE INDEX apps_by_name ON apps (workspace, project, name);

CREATE TABLE named_secrets (
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
CREATE UNIQUE INDEX named_secrets_by_name ON named_secrets (workspace, project, name);
