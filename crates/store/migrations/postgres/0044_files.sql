-- Files that the gateway keeps: whose they are, how far they have arrived, and the objects that their pieces are stored as.

CREATE TABLE files (
    id BYTEA PRIMARY KEY,
    -- Of the id.
    digest BYTEA NOT NULL UNIQUE,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BYTEA NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    -- The request that made it.
    request BYTEA NOT NULL,
    purpose TEXT NOT NULL,
    -- open, complete, or gone: then its key is deleted, and its objects are to be.
    state TEXT NOT NULL,
    -- The size that its client declared.
    declared BIGINT,
    received BIGINT NOT NULL,
    pieces BIGINT NOT NULL,
    -- Of the token with which its content may be sent, until that is complete or its time is over.
    upload BYTEA,
    upload_until_unix_ms BIGINT,
    created_unix_ms BIGINT NOT NULL,
    -- When it is deleted.
    until_unix_ms BIGINT NOT NULL,
    -- Its key, name and type.
    sealed_version BIGINT,
    sealed_key_id TEXT,
    sealed BYTEA
);
CREATE INDEX files_by_age ON files (workspace, project, created_unix_ms, id);
CREATE INDEX files_by_end ON files (until_unix_ms);

CREATE TABLE file_pieces (
    file BYTEA NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    -- Of its object, below that of its file.
    name TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (file, position)
);
CREATE INDEX file_pieces_by_name ON file_pieces (name);
