-- HTTP servers that projects declare as apps, and the secrets that these are sent by name.

CREATE TABLE apps (
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
CREATE UNIQUE INDEX apps_by_name ON apps (workspace, project, name);

CREATE TABLE named_secrets (
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
CREATE UNIQUE INDEX named_secrets_by_name ON named_secrets (workspace, project, name);
