-- Tasks: runs of apps, with where they are in the queue, and their content, sealed.

CREATE TABLE run_tasks (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BLOB NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    -- The request that made it, which its first try is booked under.
    request BLOB NOT NULL,
    -- The key that made it, and pays for it.
    api_key BLOB NOT NULL,
    app TEXT NOT NULL,
    -- queued, running or ended.
    state TEXT NOT NULL,
    -- The number that clients read.
    status INTEGER NOT NULL,
    -- The lowest is taken first.
    priority INTEGER NOT NULL,
    -- How often a worker took it.
    tries INTEGER NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    updated_unix_ms INTEGER NOT NULL,
    -- It is not taken before.
    due_unix_ms INTEGER NOT NULL,
    started_unix_ms INTEGER,
    ended_unix_ms INTEGER,
    -- When it is deleted.
    until_unix_ms INTEGER NOT NULL,
    cancelled_unix_ms INTEGER,
    worker TEXT,
    lease_unix_ms INTEGER,
    events TEXT NOT NULL,
    logs TEXT NOT NULL,
    rating INTEGER,
    -- Its request names an address that is told of its end.
    notifies INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX run_tasks_by_age ON run_tasks (workspace, project, id);
CREATE INDEX run_tasks_by_end ON run_tasks (until_unix_ms);
CREATE INDEX run_tasks_queued ON run_tasks (workspace, priority, due_unix_ms, id) WHERE state = 'queued';
CREATE INDEX run_tasks_running ON run_tasks (workspace, lease_unix_ms) WHERE state = 'running';
CREATE INDEX run_tasks_open ON run_tasks (workspace, project) WHERE state <> 'ended';
CREATE INDEX run_tasks_ended ON run_tasks (workspace, ended_unix_ms) WHERE state = 'ended';

CREATE TABLE run_contents (
    -- Of task and part.
    digest BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BLOB NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    request BLOB NOT NULL,
    task BLOB NOT NULL REFERENCES run_tasks (id) ON DELETE CASCADE,
    -- request, result or partial.
    part TEXT NOT NULL,
    sealed_version INTEGER NOT NULL,
    sealed_key_id TEXT NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
CREATE INDEX run_contents_by_workspace ON run_contents (workspace, project);
CREATE UNIQUE INDEX run_contents_by_task ON run_contents (task, part);
