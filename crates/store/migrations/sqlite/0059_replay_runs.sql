-- Stored requests that a candidate is tried with, what came of each, and the gates that decide.

CREATE TABLE replay_gates (
    workspace BLOB PRIMARY KEY REFERENCES workspaces (id) ON DELETE CASCADE,
    -- `gated` or `open`: whether traffic moves onto nodes on evidence alone.
    activation TEXT NOT NULL,
    gates TEXT NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE replay_runs (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    -- What was wanted: the set, the candidate, the speed and the gates.
    spec TEXT NOT NULL,
    state TEXT NOT NULL,
    -- How many requests the set stands for, and the load of its busiest minute.
    drawn TEXT,
    -- Why it failed.
    error TEXT,
    verdict TEXT,
    -- The signed document.
    report TEXT,
    scheduled_unix_ms INTEGER NOT NULL,
    started_unix_ms INTEGER,
    ended_unix_ms INTEGER,
    expires_unix_ms INTEGER,
    created_unix_ms INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX replay_runs_by_workspace ON replay_runs (workspace, id);

-- The shapes of the set's requests, without content.
CREATE TABLE replay_traces (
    run BLOB NOT NULL REFERENCES replay_runs (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    trace TEXT NOT NULL,
    -- After the start of the run.
    due_ms INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    result TEXT,
    PRIMARY KEY (run, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX replay_traces_waiting ON replay_traces (run, position) WHERE result IS NULL;
