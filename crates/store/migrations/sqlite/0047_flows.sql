-- Flows that projects declare, each version as it was, and the runs of flows with what became of each step; content is sealed.

CREATE TABLE flows (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BLOB NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    -- The number of its newest version.
    latest INTEGER NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    updated_unix_ms INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX flows_by_name ON flows (workspace, project, name);

CREATE TABLE flow_versions (
    flow BLOB NOT NULL REFERENCES flows (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    document TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    PRIMARY KEY (flow, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE flow_runs (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BLOB NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    -- The request that began it.
    request BLOB NOT NULL,
    -- The key that its steps are made with, and that pays for them.
    api_key BLOB NOT NULL,
    -- As its document said.
    name TEXT NOT NULL,
    -- Of a flow that is declared.
    flow BLOB,
    number INTEGER,
    -- Of a sub-flow: the run whose step it is.
    parent BLOB,
    parent_step TEXT,
    depth INTEGER NOT NULL,
    -- The run that it repeats under another version.
    replay_of BLOB,
    -- queued, running, waiting, paused or ended.
    state TEXT NOT NULL,
    -- The number that clients read.
    status INTEGER NOT NULL,
    budget_nanos INTEGER,
    cost_nanos INTEGER NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    updated_unix_ms INTEGER NOT NULL,
    -- It is not taken before.
    due_unix_ms INTEGER NOT NULL,
    started_unix_ms INTEGER,
    ended_unix_ms INTEGER,
    -- When it is deleted.
    until_unix_ms INTEGER NOT NULL,
    -- What somebody wants of a run that a worker has: cancel or pause.
    wish TEXT,
    error_code TEXT,
    worker TEXT,
    lease_unix_ms INTEGER,
    -- Counts what happens to it, for those that follow it.
    changes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX flow_runs_by_age ON flow_runs (workspace, project, id);
CREATE INDEX flow_runs_by_end ON flow_runs (until_unix_ms);
CREATE INDEX flow_runs_queued ON flow_runs (workspace, due_unix_ms, id) WHERE state IN ('queued', 'waiting');
CREATE INDEX flow_runs_running ON flow_runs (worker, lease_unix_ms) WHERE state = 'running';
CREATE INDEX flow_runs_by_parent ON flow_runs (parent) WHERE parent IS NOT NULL;
CREATE INDEX flow_runs_open ON flow_runs (workspace, project) WHERE state <> 'ended';

CREATE TABLE flow_steps (
    run BLOB NOT NULL REFERENCES flow_runs (id) ON DELETE CASCADE,
    -- The step, with the number of its iteration where it has several.
    path TEXT NOT NULL,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    tries INTEGER NOT NULL,
    started_unix_ms INTEGER,
    ended_unix_ms INTEGER,
    -- In which order the steps of the run ended.
    place INTEGER,
    cost_nanos INTEGER,
    -- The task or the run of a sub-flow that it began.
    began TEXT,
    error_code TEXT,
    PRIMARY KEY (run, path)
) STRICT, WITHOUT ROWID;

CREATE TABLE flow_events (
    run BLOB NOT NULL REFERENCES flow_runs (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    -- The event's name; of an approval, the step's after a colon.
    name TEXT NOT NULL,
    sent_unix_ms INTEGER NOT NULL,
    -- The path of the step that took it.
    taken_by TEXT,
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE flow_contents (
    -- Of run and part.
    digest BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BLOB NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    request BLOB NOT NULL,
    run BLOB NOT NULL REFERENCES flow_runs (id) ON DELETE CASCADE,
    -- document, input, output, a step's after "step ", or an event's after "event ".
    part TEXT NOT NULL,
    sealed_version INTEGER NOT NULL,
    sealed_key_id TEXT NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
CREATE INDEX flow_contents_by_workspace ON flow_contents (workspace, project);
CREATE INDEX flow_contents_by_key ON flow_contents (workspace, sealed_key_id, digest);
CREATE UNIQUE INDEX flow_contents_by_run ON flow_contents (run, part);
