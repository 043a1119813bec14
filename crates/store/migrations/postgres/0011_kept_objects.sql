-- Who made what providers keep beside answers: files, batches, videos. Nothing of their content.

CREATE TABLE kept_objects (
    -- Our name for it, a keyed hash.
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    project BYTEA NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    -- The request that made it, or first met it.
    request BYTEA NOT NULL,
    maker TEXT NOT NULL,
    provider_id TEXT NOT NULL,
    model TEXT NOT NULL,
    upstream_model TEXT NOT NULL,
    -- What lists are filtered by, and what they show.
    label TEXT NOT NULL,
    shown TEXT NOT NULL,
    -- The request whose record has what it used; NULL where nothing is booked so.
    booked_by BYTEA,
    created_unix_ms BIGINT NOT NULL,
    -- NULL where nobody knows of an end.
    until_unix_ms BIGINT
);
CREATE INDEX kept_objects_by_age ON kept_objects (workspace, project, kind, created_unix_ms, id);
CREATE INDEX kept_objects_by_end ON kept_objects (until_unix_ms);
