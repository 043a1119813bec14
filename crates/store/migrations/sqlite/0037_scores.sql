-- How good the answers of requests were found. No text of anybody's: names, numbers and ids.

CREATE TABLE scores (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BLOB NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    request BLOB NOT NULL,
    -- What was judged.
    name TEXT NOT NULL,
    value_micros INTEGER NOT NULL,
    version INTEGER NOT NULL,
    -- The key or person that gave it.
    author TEXT NOT NULL,
    -- What they are compared by, as the request's record has it.
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    route TEXT NOT NULL,
    scored_unix_ms INTEGER NOT NULL,
    -- When the request began: they go when its record goes.
    started_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX scores_by_request ON scores (workspace, request, name);
CREATE INDEX scores_by_workspace ON scores (workspace, id);
CREATE INDEX scores_by_start ON scores (started_unix_ms);
