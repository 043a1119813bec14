-- What the requests that named a session used and cost so far.

CREATE TABLE session_sums (
    session BYTEA PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    requests BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    candidate_tokens BIGINT NOT NULL,
    reused_tokens BIGINT NOT NULL,
    cost_nanos BIGINT NOT NULL,
    provider_cost_nanos BIGINT NOT NULL
);
CREATE INDEX session_sums_by_workspace ON session_sums (workspace);
