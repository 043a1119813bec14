-- Gateways that serve elsewhere what this installation configures: each with the token that it came with, what it is known by,
-- and what it said last.

CREATE TABLE data_planes (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    -- Its number among the replicas: under it are its leases, and how far its journals are applied.
    replica BIGINT NOT NULL UNIQUE,
    -- The keyed hash of the token that lets it in, once.
    token_digest BYTEA NOT NULL UNIQUE,
    token_expires_unix_ms BIGINT NOT NULL,
    joined_unix_ms BIGINT,
    -- The keyed hash of its credential.
    credential_digest BYTEA UNIQUE,
    -- Its X25519 key, that secrets are sealed for, and its Ed25519 key, that it signs evidence with.
    sealed_for BYTEA,
    signing_key BYTEA,
    revoked_unix_ms BIGINT,
    seen_unix_ms BIGINT,
    -- The version of the configuration that it serves, and of the program that it is.
    applied_version BIGINT,
    program TEXT,
    created_unix_ms BIGINT NOT NULL,
    version BIGINT NOT NULL,
    UNIQUE (workspace, name)
);

-- What data planes signed: receipts of purges, and heads of their audits.

CREATE TABLE data_plane_evidence (
    data_plane BYTEA NOT NULL REFERENCES data_planes (id) ON DELETE CASCADE,
    place BIGINT NOT NULL,
    workspace BYTEA NOT NULL,
    kind TEXT NOT NULL,
    -- What it is of: a purge job, or a chain and its length.
    object TEXT NOT NULL,
    document TEXT NOT NULL,
    received_unix_ms BIGINT NOT NULL,
    PRIMARY KEY (data_plane, place),
    UNIQUE (data_plane, kind, object)
);

-- On a data plane: settled records on their way to the control plane, in their order.

CREATE TABLE data_plane_outbox (
    place BIGINT PRIMARY KEY,
    core BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    segment BIGINT NOT NULL,
    position BIGINT NOT NULL,
    records BYTEA NOT NULL
);
