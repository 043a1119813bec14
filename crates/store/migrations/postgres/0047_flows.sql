-- Flows that projects declare, each version as it was, and the runs of flows with what became of each step; content is sealed.

CREATE TABLE flows (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BYTEA NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    -- The number of its newest version.
    latest BIGINT NOT NULL,
    created_unix_ms BIGINT NOT NULL,
    updated_unix_ms BIGINT NOT NULL,
    version BIGINT NOT NULL
);
CREATE UNIQUE INDEX flows_by_name ON flows (workspace, project, name);

CREATE TABLE flow_versions (
    flow BYTEA NOT NULL REFERENCES flows (id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    document TEXT NOT NULL,
    created_unix_ms BIGINT NOT NULL,
    PRIMARY KEY (flow, number)
);

CREATE TABLE flow_runs (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BYTEA NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    -- The request that began it.
    request BYTEA NOT NULL,
    -- The key that its steps are made with, and that pays for them.
    api_key BYTEA NOT NULL,
    -- As its document said.
    name TEXT NOT NULL,
    -- Of a flow that is declared.
    flow BYTEA,
    number BIGINT,
    -- Of a sub-flow: the run whose step it is.
    parent BYTEA,
    parent_step TEXT,
    depth BIGINT NOT NULL,
    -- The run that it repeats under another version.
    replay_of BYTEA,
    -- queued, running, waiting, paused or ended.
    state TEXT NOT NULL,
    -- The number that clients read.
    status BIGINT NOT NULL,
    budget_nanos BIGINT,
    cost_nanos BIGINT NOT NULL,
    created_unix_ms BIGINT NOT NULL,
    updated_unix_ms BIGINT NOT NULL,
    -- It is not taken before.
    due_unix_ms BIGINT NOT NULL,
    started_unix_ms BIGINT,
    ended_unix_ms BIGINT,
    -- When it is deleted.
    until_unix_ms BIGINT NOT NULL,
    -- What somebody wants of a run that a worker has: cancel or pause.
    wish TEXT,
    error_code TEXT,
    worker TEXT,
    lease_unix_ms BIGINT,
    -- Counts what happens to it, for those that follow it.
    changes BIGINT NOT NULL
);
CREATE INDEX flow_runs_by_age ON flow_runs (workspace, project, id);
CREATE INDEX flow_runs_by_end ON flow_runs (until_unix_ms);
CREATE INDEX flow_runs_queued ON flow_runs (workspace, due_unix_ms, id) WHERE state IN ('queued', 'waiting');
CREATE INDEX flow_runs_running ON flow_runs (worker, lease_unix_ms) WHERE state = 'running';
CREATE INDEX flow_runs_by_parent ON flow_runs (parent) WHERE parent IS NOT NULL;
CREATE INDEX flow_runs_open ON flow_runs (workspace, project) WHERE state <> 'ended';

CREATE TABLE flow_steps (
    run BYTEA NOT NULL REFERENCES flow_runs (id) ON DELETE CASCADE,
    -- The step, with the number of its iteration where it has several.
    path TEXT NOT NULL,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    tries BIGINT NOT NULL,
    started_unix_ms BIGINT,
    ended_unix_ms BIGINT,
    -- In which order the steps of the run ended.
    place BIGINT,
    cost_nanos BIGINT,
    -- The task or the run of a sub-flow that it began.
    began TEXT,
    error_code TEXT,
    PRIMARY KEY (run, path)
);

CREATE TABLE flow_events (
    run BYTEA NOT NULL REFERENCES flow_runs (id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    -- The event's name; of an approval, the step's after a colon.
    name TEXT NOT NULL,
    sent_unix_ms BIGINT NOT NULL,
    -- The path of the step that took it.
    taken_by TEXT,
    PRIMARY KEY (run, number)
);

CREATE TABLE flow_contents (
    -- Of run and part.
    digest BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BYTEA NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    request BYTEA NOT NULL,
    run BYTEA NOT NULL REFERENCES flow_runs (id) ON DELETE CASCADE,
    -- document, input, output, a step's after "step ", or an event's after "event ".
    part TEXT NOT NULL,
    sealed_version BIGINT NOT NULL,
    sealed_key_id TEXT NOT NULL,
    sealed BYTEA NOT NULL
);
CREATE INDEX flow_contents_by_workspace ON flow_contents (workspace, project);
CREATE INDEX flow_contents_by_key ON flow_contents (workspace, sealed_key_id, digest);
CREATE UNIQUE INDEX flow_contents_by_run ON flow_contents (run, part);
