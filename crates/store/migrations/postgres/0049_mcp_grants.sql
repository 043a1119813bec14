-- What projects were granted at the authorization servers of their MCP servers, and the sign-ins that lead to it. What is secret
-- of both is sealed in tool_secrets.

CREATE TABLE mcp_grants (
    server BYTEA PRIMARY KEY REFERENCES mcp_servers (id) ON DELETE CASCADE,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BYTEA NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    -- The digest of its row in tool_secrets; nothing once the authorization server refused to renew it.
    secret BYTEA,
    scopes TEXT NOT NULL,
    is_renewable BIGINT NOT NULL,
    expires_unix_ms BIGINT,
    -- Until when one process alone renews it.
    claimed_until_unix_ms BIGINT,
    version BIGINT NOT NULL
);

CREATE TABLE mcp_sign_ins (
    -- The keyed hash of the state that the person's browser brings back.
    state BYTEA PRIMARY KEY,
    server BYTEA NOT NULL REFERENCES mcp_servers (id) ON DELETE CASCADE,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BYTEA NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    actor TEXT NOT NULL,
    session BYTEA,
    secret BYTEA NOT NULL,
    expires_unix_ms BIGINT NOT NULL
);
CREATE INDEX mcp_sign_ins_by_server ON mcp_sign_ins (server);
CREATE INDEX mcp_sign_ins_by_time ON mcp_sign_ins (expires_unix_ms);
