-- Agents: stored definitions in versions, each sealed in tool_secrets; and which chat a task is a turn of.

CREATE TABLE agents (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BYTEA NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    created_unix_ms BIGINT NOT NULL,
    -- The number of its newest definition.
    version BIGINT NOT NULL
);
CREATE UNIQUE INDEX agents_by_name ON agents (workspace, project, name);

CREATE TABLE agent_versions (
    agent BYTEA NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    -- The digest of its row in tool_secrets.
    secret BYTEA NOT NULL,
    created_unix_ms BIGINT NOT NULL,
    PRIMARY KEY (agent, number)
);

-- The session whose next turn a task makes: its tasks run one after the other.
ALTER TABLE run_tasks ADD COLUMN chat BYTEA;
CREATE INDEX run_tasks_of_chat ON run_tasks (chat, id) WHERE chat IS NOT NULL;
