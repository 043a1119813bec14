-- Who made the answers that providers keep: nothing of their content, and of their ids only keyed hashes.

CREATE TABLE stored_responses (
    -- Of workspace, project and the provider's id.
    digest BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BLOB NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    -- The request that made it.
    request BLOB NOT NULL,
    maker TEXT NOT NULL,
    model TEXT NOT NULL,
    upstream_model TEXT NOT NULL,
    -- The request whose record has what it used; NULL while nobody saw its end.
    booked_by BLOB,
    until_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX stored_responses_by_project ON stored_responses (workspace, project);
CREATE INDEX stored_responses_by_end ON stored_responses (until_unix_ms);
