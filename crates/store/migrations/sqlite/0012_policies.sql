-- What the requests of a project may reach, whatever a route says: one for each project.

CREATE TABLE policies (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id),
    project BLOB NOT NULL UNIQUE REFERENCES projects (id),
    spec TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX policies_by_workspace ON policies (workspace, id);
