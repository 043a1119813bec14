-- What came of comparing a provider's exports with the records.

CREATE TABLE reconciliations (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id),
    body TEXT NOT NULL,
    created_unix_ms BIGINT NOT NULL
);
CREATE INDEX reconciliations_by_workspace ON reconciliations (workspace, id);
