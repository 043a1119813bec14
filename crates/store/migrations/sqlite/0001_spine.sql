-- Ids are 16 bytes, times are milliseconds since 1970, money is nano-USD. Every row's `version` is that of the change
-- that wrote it last.

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- The version of the configuration: one row.
CREATE TABLE head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL
) STRICT;
INSERT INTO head (one, version) VALUES (1, 0);

CREATE TABLE changes (
    version INTEGER NOT NULL,
    part TEXT NOT NULL,
    object TEXT NOT NULL,
    workspace BLOB,
    PRIMARY KEY (version, part, object)
) STRICT, WITHOUT ROWID;

CREATE TABLE workspaces (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- No reference to workspaces: the nil workspace's key seals the operator's accounts.
CREATE TABLE workspace_keys (
    workspace BLOB NOT NULL,
    ordinal INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    wrapped BLOB NOT NULL,
    PRIMARY KEY (workspace, ordinal),
    UNIQUE (workspace, key_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE projects (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id),
    name TEXT NOT NULL,
    environment TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    version INTEGER NOT NULL,
    UNIQUE (workspace, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX projects_by_workspace ON projects (workspace, id);

CREATE TABLE api_keys (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id),
    project BLOB NOT NULL REFERENCES projects (id),
    name TEXT NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    last4 TEXT NOT NULL,
    environment TEXT NOT NULL,
    scopes TEXT NOT NULL,
    expires_unix_ms INTEGER,
    ip_allowlist TEXT NOT NULL,
    revoked_unix_ms INTEGER,
    created_unix_ms INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX api_keys_by_workspace ON api_keys (workspace, id);
CREATE INDEX api_keys_by_project ON api_keys (project);

-- The lowest acceptable version of each sealed object, sealed itself and kept apart from the object.
CREATE TABLE seal_floors (
    workspace BLOB NOT NULL,
    object TEXT NOT NULL,
    version INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (workspace, object)
) STRICT, WITHOUT ROWID;

CREATE TABLE credentials (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id),
    provider TEXT NOT NULL,
    display_name TEXT NOT NULL,
    auth TEXT NOT NULL,
    secret_version INTEGER NOT NULL,
    secret_key_id TEXT NOT NULL,
    secret_sealed BLOB NOT NULL,
    fingerprint TEXT NOT NULL,
    base_url TEXT,
    region TEXT,
    config TEXT NOT NULL,
    pricing TEXT NOT NULL,
    limits TEXT NOT NULL,
    retention TEXT NOT NULL,
    commitment TEXT NOT NULL,
    metadata TEXT NOT NULL,
    project BLOB REFERENCES projects (id),
    environment TEXT,
    state TEXT NOT NULL,
    expires_unix_ms INTEGER,
    last_verified_unix_ms INTEGER,
    last_error TEXT,
    created_unix_ms INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX credentials_by_workspace ON credentials (workspace, id);
CREATE INDEX credentials_by_project ON credentials (project) WHERE project IS NOT NULL;

CREATE TABLE accounts (
    id BLOB PRIMARY KEY,
    provider TEXT NOT NULL,
    display_name TEXT NOT NULL,
    auth TEXT NOT NULL,
    secret_version INTEGER NOT NULL,
    secret_key_id TEXT NOT NULL,
    secret_sealed BLOB NOT NULL,
    fingerprint TEXT NOT NULL,
    base_url TEXT,
    region TEXT,
    config TEXT NOT NULL,
    limits TEXT NOT NULL,
    metadata TEXT NOT NULL,
    models TEXT NOT NULL,
    weight INTEGER NOT NULL,
    markup_bps INTEGER NOT NULL,
    allow_unpriced INTEGER NOT NULL,
    disabled INTEGER NOT NULL,
    last_verified_unix_ms INTEGER,
    last_error TEXT,
    created_unix_ms INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE nodes (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id),
    name TEXT NOT NULL,
    base_url TEXT NOT NULL,
    secret_version INTEGER,
    secret_key_id TEXT,
    secret_sealed BLOB,
    fingerprint TEXT,
    -- Versions go on after a secret was removed, so that an older one can't come back.
    secret_version_last INTEGER NOT NULL,
    declared_models TEXT NOT NULL,
    learned_models TEXT NOT NULL,
    labels TEXT NOT NULL,
    draining INTEGER NOT NULL,
    reachable INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    last_seen_unix_ms INTEGER,
    last_error TEXT,
    created_unix_ms INTEGER NOT NULL,
    version INTEGER NOT NULL,
    UNIQUE (workspace, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX nodes_by_workspace ON nodes (workspace, id);

CREATE TABLE routes (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id),
    -- One text for one scope: no two routes of a workspace fix the same places.
    scope TEXT NOT NULL,
    project BLOB REFERENCES projects (id),
    spec TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    version INTEGER NOT NULL,
    UNIQUE (workspace, scope)
) STRICT, WITHOUT ROWID;
CREATE INDEX routes_by_workspace ON routes (workspace, id);
CREATE INDEX routes_by_project ON routes (project) WHERE project IS NOT NULL;

-- Settled exchanges of every workspace, packed as they came from the journal; `packed.rs` knows their form. Ranges of
-- rows overlap: a long exchange settles among younger ones.
CREATE TABLE record_batches (
    id INTEGER PRIMARY KEY,
    first_trace BLOB NOT NULL,
    last_trace BLOB NOT NULL,
    first_started_unix_ms INTEGER NOT NULL,
    last_started_unix_ms INTEGER NOT NULL,
    records INTEGER NOT NULL,
    -- Eight rows of one level become one of the next; rows of the last level stay as they are.
    level INTEGER NOT NULL,
    -- 16 bytes for each workspace that has a record here.
    workspaces BLOB NOT NULL,
    -- 16 bytes for each record, in the order of the body.
    traces BLOB NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX record_batches_by_last ON record_batches (last_trace, id, first_trace);
CREATE INDEX record_batches_by_first ON record_batches (first_trace, id, last_trace);
CREATE INDEX record_batches_to_merge ON record_batches (level) WHERE level < 3;

-- What usage is told apart by; `tally.rs` knows the form.
CREATE TABLE usage_groups (
    id INTEGER PRIMARY KEY,
    workspace BLOB NOT NULL,
    dimensions BLOB NOT NULL,
    UNIQUE (workspace, dimensions)
) STRICT;

-- Sums over the exchanges that started in a minute, and again in each hour, so that a month is few rows. Written with
-- the records they sum.
CREATE TABLE usage_minutes (
    workspace BLOB NOT NULL,
    -- 1 or 60.
    span_minutes INTEGER NOT NULL,
    -- The first one, since 1970.
    minute INTEGER NOT NULL,
    usage_group INTEGER NOT NULL REFERENCES usage_groups (id),
    tally BLOB NOT NULL,
    PRIMARY KEY (workspace, span_minutes, minute, usage_group)
) STRICT, WITHOUT ROWID;

-- How far each core's journal is applied; written with the records it covers.
CREATE TABLE journal_positions (
    core INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL,
    segment INTEGER NOT NULL,
    position INTEGER NOT NULL
) STRICT;

-- Every run that ever applied something: of an epoch that is not here, nothing was applied.
CREATE TABLE journal_epochs (
    core INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    PRIMARY KEY (core, epoch)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    id BLOB PRIMARY KEY,
    unix_ms INTEGER NOT NULL,
    workspace BLOB,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    detail TEXT NOT NULL,
    trace BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_by_workspace ON audit (workspace, id);

CREATE TABLE credential_openings (
    credential BLOB PRIMARY KEY,
    openings INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
