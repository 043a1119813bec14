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

-- What is known of the servers behind credentials and nodes: what a probe found, and what a person stated.

ALTER TABLE credentials ADD COLUMN server TEXT NOT NULL DEFAULT '{}';
ALTER TABLE nodes ADD COLUMN server TEXT NOT NULL DEFAULT '{}';

-- What the gateway may do for the prompt caches of providers: off, suggest or apply. What is null is left to the wider one.
ALTER TABLE workspaces ADD COLUMN caching_managed TEXT;
ALTER TABLE workspaces ADD COLUMN caching_byok TEXT;
ALTER TABLE projects ADD COLUMN caching_managed TEXT;
ALTER TABLE projects ADD COLUMN caching_byok TEXT;
