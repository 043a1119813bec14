-- Sessions of agents: artifacts, bundles of them, and sessions with their branches, events and snapshots.

-- Content is sealed, apart from what describes it; its key is a hash of the id of what it belongs to.
CREATE TABLE state_contents (
    digest BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BLOB NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    -- The request that wrote it.
    request BLOB NOT NULL,
    sealed_version INTEGER NOT NULL,
    sealed_key_id TEXT NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
CREATE INDEX state_contents_by_workspace ON state_contents (workspace, project);
-- What a request added to a session is a part of its data path.
CREATE INDEX state_contents_by_request ON state_contents (workspace, request);

CREATE TABLE artifacts (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BLOB NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    retention TEXT NOT NULL,
    content_bytes INTEGER NOT NULL,
    -- A keyed hash of the content.
    content_hash BLOB NOT NULL,
    content BLOB NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    -- NULL where it is kept until it is deleted.
    until_unix_ms INTEGER,
    revoked_unix_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX artifacts_by_workspace ON artifacts (workspace, id);
CREATE INDEX artifacts_by_end ON artifacts (until_unix_ms);

CREATE TABLE bundles (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BLOB NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    items TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX bundles_by_workspace ON bundles (workspace, id);

CREATE TABLE sessions (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BLOB NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    end_user TEXT,
    metadata TEXT NOT NULL,
    bundles TEXT NOT NULL,
    status TEXT NOT NULL,
    default_branch BLOB NOT NULL,
    -- Of its fields; events do not change it.
    version INTEGER NOT NULL,
    ttl_ms INTEGER,
    created_unix_ms INTEGER NOT NULL,
    used_unix_ms INTEGER NOT NULL,
    -- NULL where it is kept until it is deleted.
    until_unix_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_workspace ON sessions (workspace, id);
CREATE INDEX sessions_by_end ON sessions (until_unix_ms);

CREATE TABLE session_branches (
    id BLOB PRIMARY KEY,
    session BLOB NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    -- The branch that it was forked from, and how many of that one's events are its own history.
    forked_from BLOB,
    forked_at INTEGER NOT NULL,
    -- The number of events, those of its history included.
    version INTEGER NOT NULL,
    head BLOB,
    created_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX session_branches_by_session ON session_branches (session, id);

CREATE TABLE session_events (
    branch BLOB NOT NULL REFERENCES session_branches (id) ON DELETE CASCADE,
    -- The version of the branch that it made.
    version INTEGER NOT NULL,
    id BLOB NOT NULL UNIQUE,
    parent BLOB,
    kind TEXT NOT NULL,
    artifact BLOB,
    content_bytes INTEGER,
    content_hash BLOB,
    content BLOB,
    request BLOB NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    PRIMARY KEY (branch, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX session_events_by_artifact ON session_events (artifact) WHERE artifact IS NOT NULL;

CREATE TABLE session_snapshots (
    id BLOB PRIMARY KEY,
    session BLOB NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    branch BLOB NOT NULL,
    version INTEGER NOT NULL,
    compiler TEXT NOT NULL,
    manifest TEXT NOT NULL,
    manifest_hash BLOB NOT NULL,
    created_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX session_snapshots_by_session ON session_snapshots (session, id);
