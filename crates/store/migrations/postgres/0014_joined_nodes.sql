-- Nodes that joined by themselves: the tokens that they came with, the credentials that they report with, and what they
-- report of their own answers. Nothing here refers to `nodes`, whose rows are written anew as a whole.

CREATE TABLE node_join_tokens (
    -- The token's keyed hash.
    digest BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL,
    name TEXT NOT NULL,
    -- It is kept for a while after its use, so that a second use is told from a token that never was.
    used_unix_ms BIGINT,
    created_unix_ms BIGINT NOT NULL,
    expires_unix_ms BIGINT NOT NULL
);

CREATE TABLE node_credentials (
    node BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL,
    -- The credential's keyed hash.
    digest BYTEA NOT NULL UNIQUE,
    joined_unix_ms BIGINT NOT NULL,
    revoked_unix_ms BIGINT,
    beat_unix_ms BIGINT,
    -- From then on it is away, unless it has said something before.
    due_unix_ms BIGINT,
    -- What it said of itself.
    said TEXT
);
CREATE INDEX node_credentials_by_due ON node_credentials (due_unix_ms) WHERE revoked_unix_ms IS NULL;

CREATE TABLE node_records (
    node BYTEA NOT NULL,
    -- In the order of their coming, so that a list that is read by pages loses none.
    place BIGINT NOT NULL,
    event BYTEA NOT NULL,
    workspace BYTEA NOT NULL,
    -- Of ours, where the node was asked by a gateway.
    request BYTEA,
    model TEXT NOT NULL,
    adapter TEXT,
    operation TEXT NOT NULL,
    ended TEXT NOT NULL,
    begun_unix_ms BIGINT NOT NULL,
    took_ms BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    is_measured BIGINT NOT NULL,
    kept_unix_ms BIGINT NOT NULL,
    PRIMARY KEY (node, place),
    UNIQUE (node, event)
);
