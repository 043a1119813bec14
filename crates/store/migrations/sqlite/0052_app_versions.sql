-- What apps said before they were changed: a run may name an older version.

CREATE TABLE app_versions (
    app BLOB NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    definition TEXT NOT NULL,
    replaced_unix_ms INTEGER NOT NULL,
    PRIMARY KEY (app, number)
) STRICT, WITHOUT ROWID;
