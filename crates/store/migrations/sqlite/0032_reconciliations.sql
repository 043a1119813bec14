-- What came of comparing a provider's exports with the records.

CREATE TABLE reconciliations (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id),
    body TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX reconciliations_by_workspace ON reconciliations (workspace, id);
