-- What providers must be shown again of turns in which tools were called. Of the ids of the calls only keyed hashes are kept.

CREATE TABLE kept_turns (
    -- Of request and first call.
    digest BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BLOB NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    request BLOB NOT NULL,
    sealed_version INTEGER NOT NULL,
    sealed_key_id TEXT NOT NULL,
    sealed BLOB NOT NULL,
    until_unix_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX kept_turns_by_workspace ON kept_turns (workspace, project);
CREATE INDEX kept_turns_by_end ON kept_turns (until_unix_ms);

CREATE TABLE kept_turn_calls (
    -- Of workspace, project and the call's id.
    digest BLOB PRIMARY KEY,
    turn BLOB NOT NULL REFERENCES kept_turns (digest) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX kept_turn_calls_by_turn ON kept_turn_calls (turn);
