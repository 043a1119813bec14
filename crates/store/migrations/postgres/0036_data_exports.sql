-- Data exports: archives of what a workspace owns, in sealed parts.

CREATE TABLE data_exports (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    -- NULL where it is of the whole workspace.
    project BYTEA,
    -- The request that asked for it.
    request BYTEA NOT NULL,
    requested_by TEXT NOT NULL,
    -- pending, running, completed or failed.
    state TEXT NOT NULL,
    version BIGINT NOT NULL,
    -- Its files so far, and their sums.
    progress TEXT NOT NULL,
    created_unix_ms BIGINT NOT NULL,
    completed_unix_ms BIGINT,
    -- When it is deleted.
    until_unix_ms BIGINT NOT NULL
);
CREATE INDEX data_exports_by_workspace ON data_exports (workspace, id);
CREATE INDEX data_exports_by_end ON data_exports (until_unix_ms);

CREATE TABLE data_export_parts (
    -- Of the export and the position.
    digest BYTEA PRIMARY KEY,
    export BYTEA NOT NULL REFERENCES data_exports (id) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    -- Zeros where the export is of the whole workspace.
    project BYTEA NOT NULL,
    request BYTEA NOT NULL,
    sealed_version BIGINT NOT NULL,
    sealed_key_id TEXT NOT NULL,
    sealed BYTEA NOT NULL
);
CREATE UNIQUE INDEX data_export_parts_by_export ON data_export_parts (export, position);
CREATE INDEX data_export_parts_by_workspace ON data_export_parts (workspace);
