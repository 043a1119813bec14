-- Agents: stored definitions in versions, each sealed in tool_secrets; and which chat a task is a turn of.

CREATE TABLE agents (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BLOB NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    -- The number of its newest definition.
    version INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX agents_by_name ON agents (workspace, project, name);

CREATE TABLE agent_versions (
    agent BLOB NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    -- The digest of its row in tool_secrets.
    secret BLOB NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    PRIMARY KEY (agent, number)
) STRICT, WITHOUT ROWID;

-- The session whose next turn a task makes: its tasks run one after the other.
ALTER TABLE run_tasks ADD COLUMN chat BLOB;
CREATE INDEX run_tasks_of_chat ON run_tasks (chat, id) WHERE chat IS NOT NULL;
