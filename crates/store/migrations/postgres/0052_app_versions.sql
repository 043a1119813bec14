-- What apps said before they were changed: a run may name an older version.

CREATE TABLE app_versions (
    app BYTEA NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    definition TEXT NOT NULL,
    replaced_unix_ms BIGINT NOT NULL,
    PRIMARY KEY (app, number)
);
