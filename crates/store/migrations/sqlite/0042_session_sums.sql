-- What the requests that named a session used and cost so far.

CREATE TABLE session_sums (
    session BLOB PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    requests INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    candidate_tokens INTEGER NOT NULL,
    reused_tokens INTEGER NOT NULL,
    cost_nanos INTEGER NOT NULL,
    provider_cost_nanos INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX session_sums_by_workspace ON session_sums (workspace);
