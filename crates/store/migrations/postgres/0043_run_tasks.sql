-- Tasks: runs of apps, with where they are in the queue, and their content, sealed.

CREATE TABLE run_tasks (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BYTEA NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    -- The request that made it, which its first try is booked under.
    request BYTEA NOT NULL,
    -- The key that made it, and pays for it.
    api_key BYTEA NOT NULL,
    app TEXT NOT NULL,
    -- queued, running or ended.
    state TEXT NOT NULL,
    -- The number that clients read.
    status BIGINT NOT NULL,
    -- The lowest is taken first.
    priority BIGINT NOT NULL,
    -- How often a worker took it.
    tries BIGINT NOT NULL,
    created_unix_ms BIGINT NOT NULL,
    updated_unix_ms BIGINT NOT NULL,
    -- It is not taken before.
    due_unix_ms BIGINT NOT NULL,
    started_unix_ms BIGINT,
    ended_unix_ms BIGINT,
    -- When it is deleted.
    until_unix_ms BIGINT NOT NULL,
    cancelled_unix_ms BIGINT,
    worker TEXT,
    lease_unix_ms BIGINT,
    events TEXT NOT NULL,
    logs TEXT NOT NULL,
    rating BIGINT,
    -- Its request names an address that is told of its end.
    notifies BIGINT NOT NULL
);
CREATE INDEX run_tasks_by_age ON run_tasks (workspace, project, id);
CREATE INDEX run_tasks_by_end ON run_tasks (until_unix_ms);
CREATE INDEX run_tasks_queued ON run_tasks (workspace, priority, due_unix_ms, id) WHERE state = 'queued';
CREATE INDEX run_tasks_running ON run_tasks (workspace, lease_unix_ms) WHERE state = 'running';
CREATE INDEX run_tasks_open ON run_tasks (workspace, project) WHERE state <> 'ended';
CREATE INDEX run_tasks_ended ON run_tasks (workspace, ended_unix_ms) WHERE state = 'ended';

CREATE TABLE run_contents (
    -- Of task and part.
    digest BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BYTEA NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    request BYTEA NOT NULL,
    task BYTEA NOT NULL REFERENCES run_tasks (id) ON DELETE CASCADE,
    -- request, result or partial.
    part TEXT NOT NULL,
    sealed_version BIGINT NOT NULL,
    sealed_key_id TEXT NOT NULL,
    sealed BYTEA NOT NULL
);
CREATE INDEX run_contents_by_workspace ON run_contents (workspace, project);
CREATE UNIQUE INDEX run_contents_by_task ON run_contents (task, part);
