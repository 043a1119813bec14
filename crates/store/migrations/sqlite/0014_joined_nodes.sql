-- Nodes that joined by themselves: the tokens that they came with, the credentials that they report with, and what they
-- report of their own answers. Nothing here refers to `nodes`, whose rows are written anew as a whole.

CREATE TABLE node_join_tokens (
    -- The token's keyed hash.
    digest BLOB PRIMARY KEY,
    workspace BLOB NOT NULL,
    name TEXT NOT NULL,
    -- It is kept for a while after its use, so that a second use is told from a token that never was.
    used_unix_ms INTEGER,
    created_unix_ms INTEGER NOT NULL,
    expires_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE node_credentials (
    node BLOB PRIMARY KEY,
    workspace BLOB NOT NULL,
    -- The credential's keyed hash.
    digest BLOB NOT NULL UNIQUE,
    joined_unix_ms INTEGER NOT NULL,
    revoked_unix_ms INTEGER,
    beat_unix_ms INTEGER,
    -- From then on it is away, unless it has said something before.
    due_unix_ms INTEGER,
    -- What it said of itself.
    said TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX node_credentials_by_due ON node_credentials (due_unix_ms) WHERE revoked_unix_ms IS NULL;

CREATE TABLE node_records (
    node BLOB NOT NULL,
    -- In the order of their coming, so that a list that is read by pages loses none.
    place INTEGER NOT NULL,
    event BLOB NOT NULL,
    workspace BLOB NOT NULL,
    -- Of ours, where the node was asked by a gateway.
    request BLOB,
    model TEXT NOT NULL,
    adapter TEXT,
    operation TEXT NOT NULL,
    ended TEXT NOT NULL,
    begun_unix_ms INTEGER NOT NULL,
    took_ms INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    is_measured INTEGER NOT NULL,
    kept_unix_ms INTEGER NOT NULL,
    PRIMARY KEY (node, place),
    UNIQUE (node, event)
) STRICT, WITHOUT ROWID;
