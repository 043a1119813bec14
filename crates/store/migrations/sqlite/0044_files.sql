-- Files that the gateway keeps: whose they are, how far they have arrived, and the objects that their pieces are stored as.

CREATE TABLE files (
    id BLOB PRIMARY KEY,
    -- Of the id.
    digest BLOB NOT NULL UNIQUE,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BLOB NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    -- The request that made it.
    request BLOB NOT NULL,
    purpose TEXT NOT NULL,
    -- open, complete, or gone: then its key is deleted, and its objects are to be.
    state TEXT NOT NULL,
    -- The size that its client declared.
    declared INTEGER,
    received INTEGER NOT NULL,
    pieces INTEGER NOT NULL,
    -- Of the token with which its content may be sent, until that is complete or its time is over.
    upload BLOB,
    upload_until_unix_ms INTEGER,
    created_unix_ms INTEGER NOT NULL,
    -- When it is deleted.
    until_unix_ms INTEGER NOT NULL,
    -- Its key, name and type.
    sealed_version INTEGER,
    sealed_key_id TEXT,
    sealed BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX files_by_age ON files (workspace, project, created_unix_ms, id);
CREATE INDEX files_by_end ON files (until_unix_ms);

CREATE TABLE file_pieces (
    file BLOB NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    -- Of its object, below that of its file.
    name TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (file, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX file_pieces_by_name ON file_pieces (name);
