-- Ids are 16 bytes, times are milliseconds since 1970, money is nano-USD. Every row's `version` is that of the change
-- that wrote it last.

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value BYTEA NOT NULL
);

-- The version of the configuration: one row.
CREATE TABLE head (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    version BIGINT NOT NULL
);
INSERT INTO head (one, version) VALUES (1, 0);

CREATE TABLE changes (
    version BIGINT NOT NULL,
    part TEXT NOT NULL,
    object TEXT NOT NULL,
    workspace BYTEA,
    PRIMARY KEY (version, part, object)
);

CREATE TABLE workspaces (
    id BYTEA PRIMARY KEY,
    name TEXT NOT NULL,
    created_unix_ms BIGINT NOT NULL,
    version BIGINT NOT NULL
);

-- No reference to workspaces: the nil workspace's key seals the operator's accounts.
CREATE TABLE workspace_keys (
    workspace BYTEA NOT NULL,
    ordinal BIGINT NOT NULL,
    key_id TEXT NOT NULL,
    wrapped BYTEA NOT NULL,
    PRIMARY KEY (workspace, ordinal),
    UNIQUE (workspace, key_id)
);

CREATE TABLE projects (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id),
    name TEXT NOT NULL,
    environment TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created_unix_ms BIGINT NOT NULL,
    version BIGINT NOT NULL,
    UNIQUE (workspace, name)
);
CREATE INDEX projects_by_workspace ON projects (workspace, id);

CREATE TABLE api_keys (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id),
    project BYTEA NOT NULL REFERENCES projects (id),
    name TEXT NOT NULL,
    digest BYTEA NOT NULL UNIQUE,
    last4 TEXT NOT NULL,
    environment TEXT NOT NULL,
    scopes TEXT NOT NULL,
    expires_unix_ms BIGINT,
    ip_allowlist TEXT NOT NULL,
    revoked_unix_ms BIGINT,
    created_unix_ms BIGINT NOT NULL,
    version BIGINT NOT NULL
);
CREATE INDEX api_keys_by_workspace ON api_keys (workspace, id);
CREATE INDEX api_keys_by_project ON api_keys (project);

-- The lowest acceptable version of each sealed object, sealed itself and kept apart from the object.
CREATE TABLE seal_floors (
    workspace BYTEA NOT NULL,
    object TEXT NOT NULL,
    version BIGINT NOT NULL,
    key_id TEXT NOT NULL,
    sealed BYTEA NOT NULL,
    PRIMARY KEY (workspace, object)
);

CREATE TABLE credentials (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id),
    provider TEXT NOT NULL,
    display_name TEXT NOT NULL,
    auth TEXT NOT NULL,
    secret_version BIGINT NOT NULL,
    secret_key_id TEXT NOT NULL,
    secret_sealed BYTEA NOT NULL,
    fingerprint TEXT NOT NULL,
    base_url TEXT,
    region TEXT,
    config TEXT NOT NULL,
    pricing TEXT NOT NULL,
    limits TEXT NOT NULL,
    retention TEXT NOT NULL,
    commitment TEXT NOT NULL,
    metadata TEXT NOT NULL,
    project BYTEA REFERENCES projects (id),
    environment TEXT,
    state TEXT NOT NULL,
    expires_unix_ms BIGINT,
    last_verified_unix_ms BIGINT,
    last_error TEXT,
    created_unix_ms BIGINT NOT NULL,
    version BIGINT NOT NULL
);
CREATE INDEX credentials_by_workspace ON credentials (workspace, id);
CREATE INDEX credentials_by_project ON credentials (project) WHERE project IS NOT NULL;

CREATE TABLE accounts (
    id BYTEA PRIMARY KEY,
    provider TEXT NOT NULL,
    display_name TEXT NOT NULL,
    auth TEXT NOT NULL,
    secret_version BIGINT NOT NULL,
    secret_key_id TEXT NOT NULL,
    secret_sealed BYTEA NOT NULL,
    fingerprint TEXT NOT NULL,
    base_url TEXT,
    region TEXT,
    config TEXT NOT NULL,
    limits TEXT NOT NULL,
    metadata TEXT NOT NULL,
    models TEXT NOT NULL,
    weight BIGINT NOT NULL,
    markup_bps BIGINT NOT NULL,
    allow_unpriced BIGINT NOT NULL,
    disabled BIGINT NOT NULL,
    last_verified_unix_ms BIGINT,
    last_error TEXT,
    created_unix_ms BIGINT NOT NULL,
    version BIGINT NOT NULL
);

CREATE TABLE nodes (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id),
    name TEXT NOT NULL,
    base_url TEXT NOT NULL,
    secret_version BIGINT,
    secret_key_id TEXT,
    secret_sealed BYTEA,
    fingerprint TEXT,
    -- Versions go on after a secret was removed, so that an older one can't come back.
    secret_version_last BIGINT NOT NULL,
    declared_models TEXT NOT NULL,
    learned_models TEXT NOT NULL,
    labels TEXT NOT NULL,
    draining BIGINT NOT NULL,
    reachable BIGINT NOT NULL,
    metadata TEXT NOT NULL,
    last_seen_unix_ms BIGINT,
    last_error TEXT,
    created_unix_ms BIGINT NOT NULL,
    version BIGINT NOT NULL,
    UNIQUE (workspace, name)
);
CREATE INDEX nodes_by_workspace ON nodes (workspace, id);

CREATE TABLE routes (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id),
    -- One text for one scope: no two routes of a workspace fix the same places.
    scope TEXT NOT NULL,
    project BYTEA REFERENCES projects (id),
    spec TEXT NOT NULL,
    created_unix_ms BIGINT NOT NULL,
    version BIGINT NOT NULL,
    UNIQUE (workspace, scope)
);
CREATE INDEX routes_by_workspace ON routes (workspace, id);
CREATE INDEX routes_by_project ON routes (project) WHERE project IS NOT NULL;

-- Processes that settle records, each under the name that its data directory has for it.
CREATE TABLE replicas (
    number BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    id BYTEA NOT NULL UNIQUE
);

-- Settled exchanges, one a row; `packed.rs` knows the form of a body. Traces begin with their time, so a partition
-- holds a week.
CREATE TABLE records (
    trace BYTEA NOT NULL,
    workspace BYTEA NOT NULL,
    started_unix_ms BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (trace)
) PARTITION BY RANGE (trace);
CREATE INDEX records_by_workspace ON records (workspace, trace);

-- Makes the partition of a week, counted from 1970, where there is none.
CREATE FUNCTION make_record_partition(week BIGINT) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE
    week_ms CONSTANT BIGINT := 604800000;
    name CONSTANT TEXT := 'records_week_' || week;
BEGIN
    -- Of replicas that want it at once, the first makes it.
    PERFORM pg_advisory_xact_lock(hashtext('tidegate record partition'));
    IF to_regclass(name) IS NOT NULL THEN
        RETURN;
    END IF;
    -- Attached afterwards, since a partition that is made in place keeps every writer out.
    EXECUTE format('CREATE TABLE %I (LIKE records)', name);
    EXECUTE format(
        'ALTER TABLE records ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        name,
        decode(lpad(to_hex(week * week_ms), 12, '0'), 'hex'),
        decode(lpad(to_hex((week + 1) * week_ms), 12, '0'), 'hex')
    );
END
$$;

-- What usage is told apart by; `tally.rs` knows the form.
CREATE TABLE usage_groups (
    id BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    workspace BYTEA NOT NULL,
    dimensions BYTEA NOT NULL,
    UNIQUE (workspace, dimensions)
);

-- Sums over the exchanges that started in a minute, and again in each hour, so that a month is few rows. Each replica
-- has its own, so that none waits for another. Written with the records they sum.
CREATE TABLE usage_minutes (
    workspace BYTEA NOT NULL,
    -- 1 or 60.
    span_minutes BIGINT NOT NULL,
    -- The first one, since 1970.
    minute BIGINT NOT NULL,
    usage_group BIGINT NOT NULL REFERENCES usage_groups (id),
    replica BIGINT NOT NULL REFERENCES replicas (number),
    tally BYTEA NOT NULL,
    PRIMARY KEY (workspace, span_minutes, minute, usage_group, replica)
);

-- How far the journal of each replica's core is applied; written with the records it covers.
CREATE TABLE journal_positions (
    replica BIGINT NOT NULL REFERENCES replicas (number),
    core BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    segment BIGINT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (replica, core)
);

CREATE TABLE audit (
    id BYTEA PRIMARY KEY,
    unix_ms BIGINT NOT NULL,
    workspace BYTEA,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    detail TEXT NOT NULL,
    trace BYTEA
);
CREATE INDEX audit_by_workspace ON audit (workspace, id);

CREATE TABLE credential_openings (
    credential BYTEA PRIMARY KEY,
    openings BIGINT NOT NULL
);
