-- Model names of a workspace's or a project's own, each of which points at one release.

CREATE TABLE aliases (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id),
    -- The workspace's where it is NULL.
    project BYTEA REFERENCES projects (id),
    name TEXT NOT NULL,
    active BYTEA NOT NULL,
    -- The description, the release before, the canary, and why the last one was withdrawn.
    state TEXT NOT NULL,
    created_unix_ms BIGINT NOT NULL,
    version BIGINT NOT NULL
);
CREATE INDEX aliases_by_workspace ON aliases (workspace, id);

-- Written once. They go with their alias.
CREATE TABLE alias_releases (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL,
    alias BYTEA NOT NULL,
    -- From 1 for each alias.
    number BIGINT NOT NULL,
    spec TEXT NOT NULL,
    created_unix_ms BIGINT NOT NULL
);
CREATE INDEX alias_releases_by_alias ON alias_releases (workspace, alias, number);
