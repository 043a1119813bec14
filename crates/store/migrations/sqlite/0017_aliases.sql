-- Model names of a workspace's or a project's own, each of which points at one release.

CREATE TABLE aliases (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id),
    -- The workspace's where it is NULL.
    project BLOB REFERENCES projects (id),
    name TEXT NOT NULL,
    active BLOB NOT NULL,
    -- The description, the release before, the canary, and why the last one was withdrawn.
    state TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX aliases_by_workspace ON aliases (workspace, id);

-- Written once. They go with their alias.
CREATE TABLE alias_releases (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL,
    alias BLOB NOT NULL,
    -- From 1 for each alias.
    number INTEGER NOT NULL,
    spec TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX alias_releases_by_alias ON alias_releases (workspace, alias, number);
