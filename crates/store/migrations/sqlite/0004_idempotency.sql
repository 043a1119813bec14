-- Answers that are given again under their idempotency key. Of the key and of the request only keyed hashes are kept.

CREATE TABLE kept_answers (
    -- Of project, path and key.
    digest BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BLOB NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    request BLOB NOT NULL,
    body_digest BLOB NOT NULL,
    -- The replica that is answering, or that did.
    holder BLOB NOT NULL,
    -- All three are there once it is answered.
    sealed_version INTEGER,
    sealed_key_id TEXT,
    sealed BLOB,
    until_unix_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX kept_answers_by_workspace ON kept_answers (workspace, project);
CREATE INDEX kept_answers_by_end ON kept_answers (until_unix_ms);
