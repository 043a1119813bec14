-- Answers that are given again under their idempotency key. Of the key and of the request only keyed hashes are kept.

CREATE TABLE kept_answers (
    -- Of project, path and key.
    digest BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BYTEA NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    request BYTEA NOT NULL,
    body_digest BYTEA NOT NULL,
    -- The replica that is answering, or that did.
    holder BYTEA NOT NULL,
    -- All three are there once it is answered.
    sealed_version BIGINT,
    sealed_key_id TEXT,
    sealed BYTEA,
    until_unix_ms BIGINT NOT NULL
);
CREATE INDEX kept_answers_by_workspace ON kept_answers (workspace, project);
CREATE INDEX kept_answers_by_end ON kept_answers (until_unix_ms);
