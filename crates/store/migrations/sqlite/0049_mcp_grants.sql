-- What projects were granted at the authorization servers of their MCP servers, and the sign-ins that lead to it. What is secret
-- of both is sealed in tool_secrets.

CREATE TABLE mcp_grants (
    server BLOB PRIMARY KEY REFERENCES mcp_servers (id) ON DELETE CASCADE,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BLOB NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    -- The digest of its row in tool_secrets; nothing once the authorization server refused to renew it.
    secret BLOB,
    scopes TEXT NOT NULL,
    is_renewable INTEGER NOT NULL,
    expires_unix_ms INTEGER,
    -- Until when one process alone renews it.
    claimed_until_unix_ms INTEGER,
    version INTEGER NOT NULL
) STRICT;

CREATE TABLE mcp_sign_ins (
    -- The keyed hash of the state that the person's browser brings back.
    state BLOB PRIMARY KEY,
    server BLOB NOT NULL REFERENCES mcp_servers (id) ON DELETE CASCADE,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BLOB NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    actor TEXT NOT NULL,
    session BLOB,
    secret BLOB NOT NULL,
    expires_unix_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX mcp_sign_ins_by_server ON mcp_sign_ins (server);
CREATE INDEX mcp_sign_ins_by_time ON mcp_sign_ins (expires_unix_ms);
