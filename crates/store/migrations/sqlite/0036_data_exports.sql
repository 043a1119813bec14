-- Data exports: archives of what a workspace owns, in sealed parts.

CREATE TABLE data_exports (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    -- NULL where it is of the whole workspace.
    project BLOB,
    -- The request that asked for it.
    request BLOB NOT NULL,
    requested_by TEXT NOT NULL,
    -- pending, running, completed or failed.
    state TEXT NOT NULL,
    version INTEGER NOT NULL,
    -- Its files so far, and their sums.
    progress TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    completed_unix_ms INTEGER,
    -- When it is deleted.
    until_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX data_exports_by_workspace ON data_exports (workspace, id);
CREATE INDEX data_exports_by_end ON data_exports (until_unix_ms);

CREATE TABLE data_export_parts (
    -- Of the export and the position.
    digest BLOB PRIMARY KEY,
    export BLOB NOT NULL REFERENCES data_exports (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    -- Zeros where the export is of the whole workspace.
    project BLOB NOT NULL,
    request BLOB NOT NULL,
    sealed_version INTEGER NOT NULL,
    sealed_key_id TEXT NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX data_export_parts_by_export ON data_export_parts (export, position);
CREATE INDEX data_export_parts_by_workspace ON data_export_parts (workspace);
