-- What projects keep of their requests, and what they kept, sealed.

CREATE TABLE retention_profiles (
    project BYTEA PRIMARY KEY REFERENCES projects (id) ON DELETE CASCADE,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    trace_mode TEXT NOT NULL,
    days BIGINT NOT NULL,
    sample_percent BIGINT NOT NULL,
    changed_by TEXT NOT NULL,
    changed_unix_ms BIGINT NOT NULL,
    version BIGINT NOT NULL
);
CREATE INDEX retention_profiles_by_workspace ON retention_profiles (workspace);

CREATE TABLE request_contents (
    -- The hash of the request's id.
    digest BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL,
    project BYTEA NOT NULL,
    request BYTEA NOT NULL,
    trace_mode TEXT NOT NULL,
    kept_unix_ms BIGINT NOT NULL,
    until_unix_ms BIGINT NOT NULL,
    sealed_version BIGINT NOT NULL,
    sealed_key_id TEXT NOT NULL,
    sealed BYTEA NOT NULL
);
CREATE INDEX request_contents_by_request ON request_contents (workspace, request);
CREATE INDEX request_contents_by_project ON request_contents (workspace, project, request);
CREATE INDEX request_contents_by_end ON request_contents (until_unix_ms);
CREATE INDEX request_contents_by_key ON request_contents (workspace, sealed_key_id, digest);
