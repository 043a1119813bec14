-- Sessions of agents: artifacts, bundles of them, and sessions with their branches, events and snapshots.

-- Content is sealed, apart from what describes it; its key is a hash of the id of what it belongs to.
CREATE TABLE state_contents (
    digest BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BYTEA NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    -- The request that wrote it.
    request BYTEA NOT NULL,
    sealed_version BIGINT NOT NULL,
    sealed_key_id TEXT NOT NULL,
    sealed BYTEA NOT NULL
);
CREATE INDEX state_contents_by_workspace ON state_contents (workspace, project);
-- What a request added to a session is a part of its data path.
CREATE INDEX state_contents_by_request ON state_contents (workspace, request);

CREATE TABLE artifacts (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BYTEA NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    retention TEXT NOT NULL,
    content_bytes BIGINT NOT NULL,
    -- A keyed hash of the content.
    content_hash BYTEA NOT NULL,
    content BYTEA NOT NULL,
    created_unix_ms BIGINT NOT NULL,
    -- NULL where it is kept until it is deleted.
    until_unix_ms BIGINT,
    revoked_unix_ms BIGINT
);
CREATE INDEX artifacts_by_workspace ON artifacts (workspace, id);
CREATE INDEX artifacts_by_end ON artifacts (until_unix_ms);

CREATE TABLE bundles (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BYTEA NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    items TEXT NOT NULL,
    created_unix_ms BIGINT NOT NULL
);
CREATE INDEX bundles_by_workspace ON bundles (workspace, id);

CREATE TABLE sessions (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BYTEA NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    end_user TEXT,
    metadata TEXT NOT NULL,
    bundles TEXT NOT NULL,
    status TEXT NOT NULL,
    default_branch BYTEA NOT NULL,
    -- Of its fields; events do not change it.
    version BIGINT NOT NULL,
    ttl_ms BIGINT,
    created_unix_ms BIGINT NOT NULL,
    used_unix_ms BIGINT NOT NULL,
    -- NULL where it is kept until it is deleted.
    until_unix_ms BIGINT
);
CREATE INDEX sessions_by_workspace ON sessions (workspace, id);
CREATE INDEX sessions_by_end ON sessions (until_unix_ms);

CREATE TABLE session_branches (
    id BYTEA PRIMARY KEY,
    session BYTEA NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    -- The branch that it was forked from, and how many of that one's events are its own history.
    forked_from BYTEA,
    forked_at BIGINT NOT NULL,
    -- The number of events, those of its history included.
    version BIGINT NOT NULL,
    head BYTEA,
    created_unix_ms BIGINT NOT NULL
);
CREATE INDEX session_branches_by_session ON session_branches (session, id);

CREATE TABLE session_events (
    branch BYTEA NOT NULL REFERENCES session_branches (id) ON DELETE CASCADE,
    -- The version of the branch that it made.
    version BIGINT NOT NULL,
    id BYTEA NOT NULL UNIQUE,
    parent BYTEA,
    kind TEXT NOT NULL,
    artifact BYTEA,
    content_bytes BIGINT,
    content_hash BYTEA,
    content BYTEA,
    request BYTEA NOT NULL,
    created_unix_ms BIGINT NOT NULL,
    PRIMARY KEY (branch, version)
);
CREATE INDEX session_events_by_artifact ON session_events (artifact) WHERE artifact IS NOT NULL;

CREATE TABLE session_snapshots (
    id BYTEA PRIMARY KEY,
    session BYTEA NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    branch BYTEA NOT NULL,
    version BIGINT NOT NULL,
    compiler TEXT NOT NULL,
    manifest TEXT NOT NULL,
    manifest_hash BYTEA NOT NULL,
    created_unix_ms BIGINT NOT NULL
);
CREATE INDEX session_snapshots_by_session ON session_snapshots (session, id);
