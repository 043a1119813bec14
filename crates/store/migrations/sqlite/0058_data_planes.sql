-- Gateways that serve elsewhere what this installation configures: each with the token that it came with, what it is known by,
-- and what it said last.

CREATE TABLE data_planes (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    -- Its number among the replicas: under it are its leases, and how far its journals are applied.
    replica INTEGER NOT NULL UNIQUE,
    -- The keyed hash of the token that lets it in, once.
    token_digest BLOB NOT NULL UNIQUE,
    token_expires_unix_ms INTEGER NOT NULL,
    joined_unix_ms INTEGER,
    -- The keyed hash of its credential.
    credential_digest BLOB UNIQUE,
    -- Its X25519 key, that secrets are sealed for, and its Ed25519 key, that it signs evidence with.
    sealed_for BLOB,
    signing_key BLOB,
    revoked_unix_ms INTEGER,
    seen_unix_ms INTEGER,
    -- The version of the configuration that it serves, and of the program that it is.
    applied_version INTEGER,
    program TEXT,
    created_unix_ms INTEGER NOT NULL,
    version INTEGER NOT NULL,
    UNIQUE (workspace, name)
) STRICT, WITHOUT ROWID;

-- What data planes signed: receipts of purges, and heads of their audits.

CREATE TABLE data_plane_evidence (
    data_plane BLOB NOT NULL REFERENCES data_planes (id) ON DELETE CASCADE,
    place INTEGER NOT NULL,
    workspace BLOB NOT NULL,
    kind TEXT NOT NULL,
    -- What it is of: a purge job, or a chain and its length.
    object TEXT NOT NULL,
    document TEXT NOT NULL,
    received_unix_ms INTEGER NOT NULL,
    PRIMARY KEY (data_plane, place),
    UNIQUE (data_plane, kind, object)
) STRICT, WITHOUT ROWID;

-- On a data plane: settled records on their way to the control plane, in their order.

CREATE TABLE data_plane_outbox (
    place INTEGER PRIMARY KEY,
    core INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    segment INTEGER NOT NULL,
    position INTEGER NOT NULL,
    records BLOB NOT NULL
) STRICT;
