-- What providers must be shown again of turns in which tools were called. Of the ids of the calls only keyed hashes are kept.

CREATE TABLE kept_turns (
    -- Of request and first call.
    digest BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BYTEA NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    request BYTEA NOT NULL,
    sealed_version BIGINT NOT NULL,
    sealed_key_id TEXT NOT NULL,
    sealed BYTEA NOT NULL,
    until_unix_ms BIGINT NOT NULL
);
CREATE INDEX kept_turns_by_workspace ON kept_turns (workspace, project);
CREATE INDEX kept_turns_by_end ON kept_turns (until_unix_ms);

CREATE TABLE kept_turn_calls (
    -- Of workspace, project and the call's id.
    digest BYTEA PRIMARY KEY,
    turn BYTEA NOT NULL REFERENCES kept_turns (digest) ON DELETE CASCADE
);
CREATE INDEX kept_turn_calls_by_turn ON kept_turn_calls (turn);
