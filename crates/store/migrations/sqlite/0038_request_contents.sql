-- What projects keep of their requests, and what they kept, sealed.

CREATE TABLE retention_profiles (
    project BLOB PRIMARY KEY REFERENCES projects (id) ON DELETE CASCADE,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    trace_mode TEXT NOT NULL,
    days INTEGER NOT NULL,
    sample_percent INTEGER NOT NULL,
    changed_by TEXT NOT NULL,
    changed_unix_ms INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX retention_profiles_by_workspace ON retention_profiles (workspace);

CREATE TABLE request_contents (
    -- The hash of the request's id.
    digest BLOB PRIMARY KEY,
    workspace BLOB NOT NULL,
    project BLOB NOT NULL,
    request BLOB NOT NULL,
    trace_mode TEXT NOT NULL,
    kept_unix_ms INTEGER NOT NULL,
    until_unix_ms INTEGER NOT NULL,
    sealed_version INTEGER NOT NULL,
    sealed_key_id TEXT NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
CREATE INDEX request_contents_by_request ON request_contents (workspace, request);
CREATE INDEX request_contents_by_project ON request_contents (workspace, project, request);
CREATE INDEX request_contents_by_end ON request_contents (until_unix_ms);
CREATE INDEX request_contents_by_key ON request_contents (workspace, sealed_key_id, digest);
