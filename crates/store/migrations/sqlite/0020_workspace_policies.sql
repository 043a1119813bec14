-- A workspace may have a policy too, which holds for all of its projects: its row names no project.

CREATE TABLE policies_with_workspaces (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id),
    project BLOB UNIQUE REFERENCES projects (id),
    spec TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO policies_with_workspaces SELECT id, workspace, project, spec, created_unix_ms, version FROM policies;
DROP TABLE policies;
ALTER TABLE policies_with_workspaces RENAME TO policies;
CREATE INDEX policies_by_workspace ON policies (workspace, id);
CREATE UNIQUE INDEX policies_of_workspaces ON policies (workspace) WHERE project IS NULL;
