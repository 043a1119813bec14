-- What the requests of a project may reach, whatever a route says: one for each project.

CREATE TABLE policies (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id),
    project BYTEA NOT NULL UNIQUE REFERENCES projects (id),
    spec TEXT NOT NULL,
    created_unix_ms BIGINT NOT NULL,
    version BIGINT NOT NULL
);
CREATE INDEX policies_by_workspace ON policies (workspace, id);
